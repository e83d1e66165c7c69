use proptest::prelude::*;

use super::*;

fn filtered(input: &[u8]) -> Vec<u8> {
    let (mut filter, mut out) = (QueryFilter::new(), Vec::new());
    filter.filter(input, &mut out);
    out
}

const QUESTIONS: &[&[u8]] = &[
    b"\x05",
    b"\x1bZ",
    b"\x1b[c",
    b"\x1b[0c",
    b"\x1b[>c",
    b"\x1b[>0c",
    b"\x1b[=c",
    b"\x1b[>(c",
    b"\x1b[5n",
    b"\x1b[6n",
    b"\x1b[?6n",
    b"\x1b[?15n",
    b"\x1b[?53n",
    b"\x1b[?996n",
    b"\x1b[4$p",
    b"\x1b[?2026$p",
    b"\x1b[>q",
    b"\x1b[>0q",
    b"\x1b[?u",
    b"\x1b[?4m",
    b"\x1b[11t",
    b"\x1b[14;2t",
    b"\x1b[18t",
    b"\x1b[21t",
    b"\x1b[x",
    b"\x1b[1x",
    b"\x1b[1;1;1;1;24;80*y",
    b"\x1b[1*z",
    b"\x1b[?1;1;0S",
    b"\x1b[?2;4;0S",
    b"\x1b[1$u",
    b"\x1b[1$w",
    b"\x1b[&u",
    b"\x1b[\"v",
    b"\x1b['|",
    b"\x1b[#R",
    b"\x1b[1;1;2;2#|",
    b"\x1b]4;1;?\x07",
    b"\x1b]4;1;rgb:00/00/00;2;?\x1b\\",
    b"\x1b]10;?\x07",
    b"\x1b]11;?\x1b\\",
    b"\x1b]011;?\x1b\\",
    b"\x1b]12;?;?\x07",
    b"\x1b]19;?\x07",
    b"\x1b]21;foreground=?;cursor=?\x1b\\",
    b"\x1b]22;?__current__\x1b\\",
    b"\x1b]50;?\x07",
    b"\x1b]52;c;?\x07",
    b"\x1b]52;;?\x1b\\",
    b"\x1b]60\x07",
    b"\x1b]99;i=1:p=?;\x1b\\",
    b"\x1b]702;?\x07",
    b"\x1b]1337;ReportCellSize\x07",
    b"\x1b]1337;ReportVariable=dXNlcg==\x07",
    b"\x1b]5522;type=read;Lg==\x1b\\",
    b"\x1bP$qm\x1b\\",
    b"\x1bP$q q\x1b\\",
    b"\x1bP+q544e;524742\x1b\\",
    b"\x1bP+Q666f6e74\x1b\\",
    b"\x1bP@kitty-cmd{\"cmd\":\"ls\"}\x1b\\",
    b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\",
    b"\xc2\x9b6n",
    b"\xc2\x9d11;?\xc2\x9c",
    b"\xc2\x9a",
    // Controls inside a string are passed over.
    b"\x1b]11;\x01?\x07",
    b"\x1b]52;c;\x01?\x07",
    b"\x1b]1\x001;?\x07",
    b"\x1b]11\x7f;?\x1b\\",
    b"\x1bP$\x01q\x7fm\x1b\\",
    b"\x1b_\x01Ga\r=q;AAAA\x1b\\",
    // As tmux reads them.
    b"\x1b]11?\x07",
    b"\x1b]4294967307;?\x07",
    // They make C1 controls of single bytes.
    b"\x1b%@",
    b"\x1b%/G",
    b"\x1b%8",
];

const ALLOWED: &[&[u8]] = &[
    "naïve § 日本 🦀 \u{a0}\u{bf}".as_bytes(),
    b"\x80\x9b6n\x9c raw C1 and \xe2\x9b\x9d are text",
    b"\xc2\xa9 \xc2\xc2\xa9 \xc2x",
    b"\r\n\t\x07\x08",
    b"\x1b7\x1b8\x1b=\x1b>\x1bc\x1bM\x1b(0\x1b#8\x1b%G\x1b F\x1bk title\x1b\\",
    b"\x1b[2J\x1b[H\x1b[1;31m\x1b[38:2::1:2:3mred\x1b[m",
    b"\x1b[?25l\x1b[?1049h\x1b[?2004h\x1b[?1;2;3l\x1b[4h",
    b"\x1b[?1c\x1b[?17;0;64c",
    b"\x1b[>4;1m\x1b[>4n\x1b[>1u\x1b[<u\x1b[=1;1u\x1b[u\x1b[s",
    b"\x1b[1 q\x1b[\"q\x1b[0q\x1b[!p\x1b[61\"p",
    b"\x1b[8;24;80t\x1b[22;0t\x1b[23;0t\x1b[3;0;0t\x1b[>2t\x1b[1$t",
    b"\x1b[2S\x1b[?5W\x1b[1$x\x1b[3*x\x1b[2;3f\x1b[3g\x1b[#P\x1b[#Q\x1b[1#y",
    b"\x1b]0;is it me?\x07\x1b]2;?\x07\x1b]0;;?\x1b\\",
    b"\x1b]8;;https://example.org/?q=?;?\x1b\\link\x1b]8;;\x1b\\",
    b"\x1b]4;1;rgb:12/34/56\x07\x1b]10;#ffffff\x1b\\\x1b]104;1\x07\x1b]111\x07",
    b"\x1b]52;c;aGVsbG8=\x07\x1b]133;A\x1b\\\x1b]7;file://host/?\x07",
    b"\x1b]9;ready?\x07\x1b]99;i=1;really?;?\x1b\\\x1b]777;notify;a;?\x07",
    b"\x1b]1337;SetMark\x07\x1b]1337;File=inline=1:AAAA\x07\x1b]1337;R\x07\x1b]22;pointer\x1b\\",
    b"\x1bPq#0;2;0;0;0~-\x1b\\\x1bP1$r0m\x1b\\\x1bP=1s\x1b\\\x1bP+p544e\x1b\\\x1bP1$tx\x1b\\",
    b"\x1b_Ga=T,q=2,f=100;AAAA\x1b\\\x1b_other\x1b\\\x1bXsos\x1b\\\x1b^pm\x1b\\",
    b"\x1b[6\x18n\x1b[6\x1an\x1b]11;\x18?",
    b"\x1b[1\r2H\x1b\x1b[A\x1b[3\x1b[B",
    b"\x1bPtmux;\x1b\x1b]52;c;aGk=\x07\x1b\\",
];

#[test]
fn questions_vanish_and_nothing_around_them() {
    for question in QUESTIONS {
        let whole = [b"before\xc3\xa9", *question, b"\xe6\x97\xa5after\x1b[m"].concat();
        assert_eq!(
            filtered(&whole).escape_ascii().to_string(),
            r"before\xc3\xa9\xe6\x97\xa5after\x1b[m",
            "{}",
            question.escape_ascii()
        );
    }
}

#[test]
fn everything_else_passes_byte_for_byte_and_at_once() {
    for allowed in ALLOWED {
        let (mut filter, mut out) = (QueryFilter::new(), Vec::new());
        filter.filter(allowed, &mut out);
        assert_eq!(out.escape_ascii().to_string(), allowed.escape_ascii().to_string());
        assert!(filter.is_idle(), "{}", allowed.escape_ascii());
    }
}

#[test]
fn dropped_sequences_leave_no_trap_behind() {
    for (input, output) in [
        (&b"\x1b[6\r\nn"[..], &b"\r\n"[..]),      // controls inside act at once
        (b"\x1b[6\x1b[cn", b"n"),                 // what the ESC cut off goes too
        (b"\x1b\x1b[cc", b"c"),                   // not ESC c, a reset
        (b"\x1b]4;1\x1b[c;?\x07", b";?\x07"),     // not OSC 4 ; 1 ; ?
        (b"\xc2\x1b[c\x9bc", b"\x9bc"),           // not a C1 control
        (b"\x1b[\x056\x05n", b""),                // ENQ inside
        (b"\x1b[6\xc2\x9b6nx", b"x"),             // C1 inside
        (b"\x1b[18\xc2\x9ct", b"\x1b[18\x1b\\t"), // which tmux passes over
        (b"\x1b]52;c\xc2\x9c;?\x07", b"\x1b]52;c\x1b\\;?\x07"),
        (b"\x1b]11;?\x1b[31mred", b"\x1b[31mred"), // ended by a sequence
        (b"\x1b]11;?\x18x", b"\x18x"),             // ended by CAN
        (b"\x1bP$qm\x1b[31mred", b"\x1b[31mred"),  // likewise, of what is already being dropped
        (b"\x1bPtmux;\x1b\x1b[c\x1b\\", b"\x1bPtmux;\x1b\\\x1b\\"), // the string it stood in still ends
        (b"\x1b[6\xffn\x1b\x7f[c", b""),           // what terminals pass over
        (b"\x1b_Gi=1,q=1,a=T;AA\x1b\\", b"\x1b_Gq=2,i=1,a=T;AA\x1b\\"), // shown without a receipt
        (b"\x1b_G;AA\x1b\\\x1b_Gm=1\x1b\\", b"\x1b_Gq=2;AA\x1b\\\x1b_Gq=2,m=1\x1b\\"),
    ] {
        assert_eq!(
            filtered(input).escape_ascii().to_string(),
            output.escape_ascii().to_string(),
            "{}",
            input.escape_ascii()
        );
    }
}

#[test]
fn what_is_too_long_to_hold_is_dropped_to_its_end() {
    let long = vec![b'1'; HELD_MAX_BYTES + 1];
    for (introducer, end) in
        [("\x1b[", "n"), ("\x1b]", ";?\x07"), ("\x1bP", "$qm\x1b\\"), ("\x1b_G", ",a=q;\x1b\\"), ("\x1b ", "F")]
    {
        let (mut filter, mut out) = (QueryFilter::new(), Vec::new());
        let filler = if introducer == "\x1b " { vec![b' '; HELD_MAX_BYTES + 1] } else { long.clone() };
        for piece in [b"a", introducer.as_bytes(), &filler, end.as_bytes(), b"b"] {
            filter.filter(piece, &mut out);
            assert!(filter.held.len() <= HELD_MAX_BYTES);
        }
        assert_eq!(out.escape_ascii().to_string(), "ab", "{}", introducer.escape_debug());
        assert!(filter.is_idle());
    }
    let escapes = vec![ESC; 3 * HELD_MAX_BYTES];
    let mut filter = QueryFilter::new();
    filter.filter(&escapes, &mut Vec::new());
    assert!(filter.held.len() <= HELD_MAX_BYTES);
}

#[test]
fn a_whole_palette_set_at_once_passes() {
    let mut palette = b"\x1b]4".to_vec();
    for colour in 0..256 {
        palette.extend_from_slice(format!(";{colour};rgb:12/34/56").as_bytes());
    }
    palette.extend_from_slice(b"\x1b\\");
    assert_eq!(filtered(&palette), palette);
}

/// Streams that are mostly sequences, whole and broken.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<Vec<u8>> = QUESTIONS.iter().chain(ALLOWED).map(|piece| piece.to_vec()).collect();
    let byte = prop::sample::select(
        b"\x1b\x1b\x1b[]P_GXZ\\?>=;:*$+qcnu04152a,\x05\x07\x18\x1a\r\x7f\xc2\xc2\x9b\x9c\x9d\x90\x9f\xe9 x".to_vec(),
    );
    let piece = prop_oneof![
        3 => prop::sample::select(known.clone()),
        3 => (prop::sample::select(known), any::<prop::sample::Index>()).prop_map(|(piece, at)| piece[..at.index(piece.len())].to_vec()),
        6 => prop::collection::vec(byte, 1..6),
        1 => prop::collection::vec(any::<u8>(), 1..6),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn pieces_make_no_difference(stream in streams(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let (mut filter, mut out) = (QueryFilter::new(), Vec::new());
        for cut in cuts.windows(2) {
            filter.filter(&stream[cut[0]..cut[1]], &mut out);
        }
        prop_assert_eq!(out.escape_ascii().to_string(), filtered(&stream).escape_ascii().to_string());
        let (mut filter, mut bytewise) = (QueryFilter::new(), Vec::new());
        stream.iter().for_each(|byte| filter.filter(&[*byte], &mut bytewise));
        prop_assert_eq!(bytewise, out);
    }

    #[test]
    fn no_question_is_made_by_taking_others_out(stream in streams()) {
        let once = filtered(&stream);
        prop_assert_eq!(filtered(&once).escape_ascii().to_string(), once.escape_ascii().to_string());
    }

    #[test]
    fn text_passes_unchanged(text in "[^\\x05\\x1b\\x80-\\x9f]{0,200}") {
        prop_assert_eq!(filtered(text.as_bytes()), text.as_bytes());
    }

    #[test]
    fn bytes_that_begin_nothing_pass_unchanged(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let text: Vec<u8> = text.into_iter().filter(|byte| ![ENQ, ESC, C1_LEAD].contains(byte)).collect();
        prop_assert_eq!(filtered(&text), text);
    }
}
