//! Which sequences make a terminal answer: XTerm Control Sequences (patch 397), DEC STD 070 and the VT510 manual, the kitty protocols,
//! iTerm2's and rxvt's own commands.

/// What is known of a sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It may become either.
    Open,
    /// It asks nothing, whatever follows.
    Passes,
    /// A terminal answers it.
    Asks,
}

/// The reports of XTWINOPS: `CSI Ps t` with one of these answers, others move, resize, push and pop.
const WINDOW_REPORTS: [u32; 9] = [11, 13, 14, 15, 16, 18, 19, 20, 21];

/// Colours, the selection, fonts and the like: with `?` for a value the terminal tells it.
const OSC_VALUES: [u32; 32] = [
    4, 5, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 39, 49, 50, 52, 99, 701, 702, 704, 705, 706, 707, 708,
    709, 710, 711, 712, 713,
];
/// Always answered: XTQALLOWED, XTQDISALLOWED, kitty's file transfer and its clipboard.
const OSC_TALKS: [u32; 4] = [60, 61, 5113, 5522];
/// iTerm2's commands that answer (OSC 1337).
const OSC_1337_ASKS: [&[u8]; 3] = [b"Report", b"Capabilities", b"RequestUpload"];

/// A whole control sequence, from behind its introducer to its final byte.
pub(super) fn control_sequence(body: &[u8]) -> Verdict {
    // Controls act at once and leave the sequence as it is; DEL and what is no ASCII is passed over.
    let mut bytes = body.iter().copied().filter(|byte| (0x20..0x7f).contains(byte));
    let Some(last) = bytes.next_back() else { return Verdict::Passes };
    let marker = bytes.clone().find(|byte| (0x3c..0x40).contains(byte)).unwrap_or(b' ');
    let intermediate = bytes.clone().find(|byte| (0x20..0x30).contains(byte));
    let asks = match (marker, intermediate, last) {
        (b' ' | b'>' | b'=', None, b'c') => true, // DA1, DA2, DA3
        (b'>' | b'=', Some(_), b'c') => true,     // alacritty looks at the marker alone
        (b' ' | b'?', None, b'n') => true,        // DSR
        (b' ' | b'?', Some(b'$'), b'p') => true,  // DECRQM
        (b'>', None, b'q') => true,               // XTVERSION
        (b'?', None, b'm' | b'f' | b'g') => true, // XTQMODKEYS, XTQFMTKEYS
        (b'?', None, b'u') => true,               // kitty: keyboard flags
        (b'?', None, b'S') => true,               // XTSMGRAPHICS, each action answers
        (b' ', None, b't') => WINDOW_REPORTS.contains(&first_number(bytes)),
        (b' ', None, b'x') => true,              // DECREQTPARM
        (b' ', Some(b'*'), b'y' | b'z') => true, // DECRQCRA; DECINVM, whose macro may ask anything
        (b' ', Some(b'$'), b'u' | b'w') => true, // DECRQTSR, DECRQPSR
        (b' ', Some(b'&'), b'u') => true,        // DECRQUPSS
        (b' ', Some(b','), b'u') => true,        // DECRQKT
        (b' ', Some(b'+'), b'x') => true,        // DECRQPKFM
        (b' ', Some(b'"'), b'v') => true,        // DECRQDE
        (b' ', Some(b'\''), b'|') => true,       // DECRQLP
        (b' ', Some(b'#'), b'R' | b'|') => true, // XTREPORTCOLORS, XTREPORTSGR
        _ => false,
    };
    if asks { Verdict::Asks } else { Verdict::Passes }
}

/// The number a list of parameters begins with; 0 where there is none. One that is too large wraps, as it does in tmux.
fn first_number(parameters: impl Iterator<Item = u8>) -> u32 {
    let digits = parameters.take_while(u8::is_ascii_digit);
    digits.fold(0, |number: u32, digit| number.wrapping_mul(10).wrapping_add(u32::from(digit - b'0')))
}

/// What a terminal takes of a string: most pass over controls in it, some over DEL too.
pub(super) fn without_controls(body: &[u8]) -> Vec<u8> {
    body.iter().copied().filter(|byte| *byte >= 0x20 && *byte != 0x7f).collect()
}

/// Whether an escape sequence, from behind its ESC, switches the coding (ISO 2022). Without UTF-8 the single bytes 0x80 to 0x9F, which are text
/// here, would be C1 controls there and ask. To switch to UTF-8 harms nobody.
pub(super) fn switches_coding(sequence: &[u8]) -> bool {
    let sequence = without_controls(sequence);
    sequence.first() == Some(&b'%') && sequence != b"%G"
}

/// An operating system command from behind `ESC ]`, without its end and its controls.
pub(super) fn operating_system_command(body: &[u8], ended: bool) -> Verdict {
    let digits = body.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = first_number(body.iter().copied());
    let value = match body.get(digits) {
        Some(b';') => &body[digits + 1..],
        // tmux does without.
        Some(_) => &body[digits..],
        None if ended && OSC_TALKS.contains(&number) => return Verdict::Asks,
        None if !ended => return Verdict::Open,
        None => return Verdict::Passes,
    };
    match number {
        _ if OSC_TALKS.contains(&number) => Verdict::Asks,
        52 => selection(value, ended),
        1337 => OSC_1337_ASKS.iter().fold(Verdict::Passes, |so_far, asks| match () {
            () if value.starts_with(asks) => Verdict::Asks,
            () if asks.starts_with(value) && !ended && so_far == Verdict::Passes => Verdict::Open,
            () => so_far,
        }),
        _ if !OSC_VALUES.contains(&number) => Verdict::Passes,
        _ if !ended => Verdict::Open,
        50 if value.contains(&b'?') => Verdict::Asks,
        99 if !metadata(value).split(|byte| *byte == b':').any(asks_value) => Verdict::Passes,
        _ if value.split(|byte| b";:".contains(byte)).any(asks_value) => Verdict::Asks,
        _ => Verdict::Passes,
    }
}

/// `?` alone, or `name=?` as kitty writes it.
fn asks_value(field: &[u8]) -> bool {
    field.starts_with(b"?") || field.ends_with(b"=?")
}

/// What stands before the text of a notification (OSC 99).
fn metadata(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b';').next().unwrap_or_default()
}

/// OSC 52 from behind its number: which selections, and what to put there or `?`. A copied text passes with its first byte.
fn selection(value: &[u8], ended: bool) -> Verdict {
    let Some(at) = value.iter().position(|byte| *byte == b';') else {
        return if ended { Verdict::Passes } else { Verdict::Open };
    };
    match value.get(at + 1) {
        Some(b'?') => Verdict::Asks,
        None if !ended => Verdict::Open,
        Some(_) | None => Verdict::Passes,
    }
}

/// A device control string from behind `ESC P`, without its controls: XTGETTCAP, XTGETXRES, DECRQSS, and kitty's remote control.
pub(super) fn device_control(body: &[u8], ended: bool) -> Verdict {
    let mut intermediate = None;
    for byte in body.iter().copied().filter(u8::is_ascii) {
        match (byte, intermediate) {
            (0x30..0x40, _) => {}
            (0x20..0x30, _) => intermediate = Some(byte),
            (b'q', Some(b'$' | b'+')) | (b'Q', Some(b'+')) | (b'@', None) => return Verdict::Asks,
            _ => return Verdict::Passes,
        }
    }
    if ended { Verdict::Passes } else { Verdict::Open }
}

/// An application program command from behind `ESC _`, without its controls. Of these only kitty's graphics answer: a query always, the others with a receipt
/// that [`without_receipt`] declines.
pub(super) fn graphics_command(body: &[u8], ended: bool) -> Verdict {
    match body.first() {
        Some(b'G') => {}
        None if !ended => return Verdict::Open,
        Some(_) | None => return Verdict::Passes,
    }
    if !ended && !body.contains(&b';') {
        return Verdict::Open;
    }
    if keys(body).any(|key| key == b"a=q") { Verdict::Asks } else { Verdict::Passes }
}

/// A graphics command that declines its receipt (`q=2`); none where it is one already or no graphics command.
///
/// The picture is shown all the same. The receipt would go to a program whose questions the screen model answers, and that model shows
/// no pictures.
pub(super) fn without_receipt(body: &[u8]) -> Option<Vec<u8>> {
    let quiet = |key: &[u8]| key.starts_with(b"q=");
    let wanted = keys(body).filter(|key| quiet(key)).collect::<Vec<_>>();
    if body.first() != Some(&b'G') || wanted == [b"q=2".as_slice()] {
        return None;
    }
    let mut command = b"Gq=2".to_vec();
    for key in keys(body).filter(|key| !key.is_empty() && !quiet(key)) {
        command.push(b',');
        command.extend_from_slice(key);
    }
    let payload = body.iter().position(|byte| *byte == b';').unwrap_or(body.len());
    command.extend_from_slice(&body[payload..]);
    Some(command)
}

fn keys(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let control = body.split(|byte| *byte == b';').next().unwrap_or_default();
    control.get(1..).unwrap_or_default().split(|byte| *byte == b',')
}
