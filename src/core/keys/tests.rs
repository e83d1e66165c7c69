use proptest::prelude::*;

use super::*;

const NORMAL: KeyModes = KeyModes { application_cursor: false, application_keypad: false };
const APPLICATION: KeyModes = KeyModes { application_cursor: true, application_keypad: true };

fn sent(name: &str, modes: KeyModes) -> Vec<u8> {
    let key: Key = name.parse().unwrap_or_else(|error| panic!("{error}"));
    let mut out = Vec::new();
    key.encode(modes, &mut out);
    out
}

#[test]
fn keys_are_sent_as_xterm_sends_them() {
    let table: &[(&str, &[u8])] = &[
        ("a", b"a"),
        ("é", "é".as_bytes()),
        ("-", b"-"),
        ("+", b"+"),
        ("^", b"^"),
        ("Space", b" "),
        ("Enter", b"\r"),
        ("Tab", b"\t"),
        ("BTab", b"\x1b[Z"),
        ("S-Tab", b"\x1b[Z"),
        ("Escape", b"\x1b"),
        ("BSpace", b"\x7f"),
        ("C-BSpace", b"\x08"),
        ("M-BSpace", b"\x1b\x7f"),
        ("C-M-BSpace", b"\x1b\x08"),
        ("M-Enter", b"\x1b\r"),
        ("C-c", b"\x03"),
        ("Ctrl-C", b"\x03"),
        ("control+c", b"\x03"),
        ("^C", b"\x03"),
        ("^]", b"\x1d"),
        ("C-]", b"\x1d"),
        ("C-Space", b"\0"),
        ("C-@", b"\0"),
        ("C-2", b"\0"),
        ("C-3", b"\x1b"),
        ("C-5", b"\x1d"),
        ("C-7", b"\x1f"),
        ("C-/", b"\x1f"),
        ("C-?", b"\x7f"),
        ("C-8", b"\x7f"),
        ("M-x", b"\x1bx"),
        ("Alt-x", b"\x1bx"),
        ("M--", b"\x1b-"),
        ("C-M-x", b"\x1b\x18"),
        ("S-a", b"A"),
        ("M-S-a", b"\x1bA"),
        ("F5", b"\x1b[15~"),
        ("F12", b"\x1b[24~"),
        ("S-F5", b"\x1b[15;2~"),
        ("C-F1", b"\x1b[1;5P"),
        ("F1", b"\x1bOP"),
        ("f4", b"\x1bOS"),
        ("Insert", b"\x1b[2~"),
        ("IC", b"\x1b[2~"),
        ("DC", b"\x1b[3~"),
        ("C-Delete", b"\x1b[3;5~"),
        ("PageUp", b"\x1b[5~"),
        ("NPage", b"\x1b[6~"),
        ("C-Up", b"\x1b[1;5A"),
        ("C-M-S-Left", b"\x1b[1;8D"),
        ("M-Home", b"\x1b[1;3H"),
    ];
    for (name, bytes) in table {
        assert_eq!(sent(name, NORMAL), *bytes, "{name}");
    }
}

#[test]
fn modes_change_cursor_keys_and_the_number_block_only() {
    let table: &[(&str, &[u8], &[u8])] = &[
        ("Up", b"\x1b[A", b"\x1bOA"),
        ("End", b"\x1b[F", b"\x1bOF"),
        ("C-Up", b"\x1b[1;5A", b"\x1b[1;5A"),
        ("F1", b"\x1bOP", b"\x1bOP"),
        ("PageUp", b"\x1b[5~", b"\x1b[5~"),
        ("KP5", b"5", b"\x1bOu"),
        ("KP0", b"0", b"\x1bOp"),
        ("KP/", b"/", b"\x1bOo"),
        ("KP-", b"-", b"\x1bOm"),
        ("KPEnter", b"\r", b"\x1bOM"),
        ("5", b"5", b"5"),
    ];
    for (name, normal, application) in table {
        assert_eq!(sent(name, NORMAL), *normal, "{name}");
        assert_eq!(sent(name, APPLICATION), *application, "{name} in application mode");
    }
}

#[test]
fn what_is_no_key_is_refused_with_what_was_meant() {
    let near = |text: &str| match text.parse::<Key>() {
        Err(KeyError::Near(_, near)) => near,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(near("Entr"), "Enter");
    assert_eq!(near("Page-Up"), "PageUp");
    assert_eq!(near("C-Hme"), "C-Home");
    assert_eq!(near("escpe"), "Escape");
    for text in ["", "hello there", "C-hello", "F99999", "\x03", "xyz", "日本"] {
        assert!(matches!(text.parse::<Key>(), Err(KeyError::Unknown(_))), "{text}: {:?}", text.parse::<Key>());
    }
    for text in [
        "C-Enter", "S-Enter", "C-é", "C-1", "S-1", "S-é", "C-Tab", "C-S-Tab", "S-BSpace", "C-KP5", "KPx", "C-S-a",
        "C-.",
    ] {
        assert_eq!(text.parse::<Key>(), Err(KeyError::NoBytes(text.to_owned())));
    }
}

#[test]
fn a_key_from_the_wire_is_checked() {
    for (code, modifiers) in
        [(KeyCode::Up, 8), (KeyCode::Char('\x1b'), 0), (KeyCode::Keypad('é'), 0), (KeyCode::Enter, 4)]
    {
        assert!(Key::try_from((code, modifiers)).is_err(), "{code:?} {modifiers}");
    }
    let key: Key = "C-M-Up".parse().unwrap();
    assert_eq!(Key::try_from(<(KeyCode, u8)>::from(key)), Ok(key));
}

fn codes() -> impl Strategy<Value = KeyCode> {
    let named: Vec<KeyCode> = name::NAMES.iter().map(|(_, code)| *code).collect();
    let keypad: Vec<char> = KEYPAD.iter().map(|(c, _)| *c).collect();
    prop_oneof![
        any::<char>().prop_map(KeyCode::Char),
        proptest::char::range(' ', '~').prop_map(KeyCode::Char),
        prop::sample::select(named),
        prop::sample::select(keypad).prop_map(KeyCode::Keypad),
    ]
}

proptest! {
    #[test]
    fn every_key_is_shown_as_it_is_read_and_sends_something(code in codes(), modifiers in 0u8..8) {
        if let Ok(key) = Key::new(code, modifiers) {
            prop_assert_eq!(key.to_string().parse::<Key>(), Ok(key), "{}", key);
            let mut out = Vec::new();
            key.encode(NORMAL, &mut out);
            prop_assert!(!out.is_empty());
        }
    }

    #[test]
    fn no_text_is_too_strange_to_read(text in "\\PC{0,30}") {
        let _outcome = text.parse::<Key>();
    }
}
