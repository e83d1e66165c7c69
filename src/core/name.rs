//! Names and labels: what people call processes and nodes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name of a process or node, in bytes: it becomes part of file names and table columns.
pub const NAME_MAX_BYTES: usize = 128;
/// Most labels a process may carry.
pub const LABELS_MAX: usize = 64;
/// Longest key or value of a label, in bytes.
pub const LABEL_MAX_BYTES: usize = 256;

/// Why a text cannot be a name or a label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name must not be empty")]
    Empty,
    /// More than [`NAME_MAX_BYTES`].
    #[error("a name of {0} bytes is too long: at most {NAME_MAX_BYTES}")]
    TooLong(usize),
    /// A character that would break addressing, tables or paths.
    #[error("the name '{}' must not contain {what}", .name.escape_debug())]
    Forbidden {
        /// The name as given.
        name: String,
        /// The offending thing in words.
        what: &'static str,
    },
    /// A label that is not `key=value`, or too long.
    #[error("the label '{}' is not key=value with a key of letters, digits, '.', '_', '-', '/' and at most {LABEL_MAX_BYTES} bytes each", .0.escape_debug())]
    BadLabel(String),
    /// More than [`LABELS_MAX`] labels.
    #[error("{0} labels are too many: at most {LABELS_MAX}")]
    TooManyLabels(usize),
}

fn offence(name: &str) -> Option<&'static str> {
    if name.contains('/') {
        Some("a slash (it separates node/name)")
    } else if name.chars().any(char::is_control) {
        Some("control characters or line breaks")
    } else if name.chars().any(char::is_whitespace) {
        Some("white space")
    } else if name.starts_with('-') {
        Some("a dash at its start (it would read as an option)")
    } else if name == "." || name == ".." {
        Some("only dots")
    } else {
        None
    }
}

fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_MAX_BYTES {
        return Err(NameError::TooLong(name.len()));
    }
    match offence(name) {
        Some(what) => Err(NameError::Forbidden { name: name.into(), what }),
        None => Ok(()),
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The text of the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The nearest allowed name to any text: what is forbidden becomes `_`, what is too long is cut.
            pub fn nearest(text: &str) -> $name {
                let mut name: String = text
                    .chars()
                    .map(|c| if c == '/' || c.is_control() || c.is_whitespace() { '_' } else { c })
                    .collect();
                if name.is_empty() || offence(&name).is_some() {
                    name.insert(0, '_');
                }
                while name.len() > NAME_MAX_BYTES {
                    name.pop();
                }
                $name(name.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<$name, NameError> {
                check(text).map(|()| $name(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<$name, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.into()
            }
        }
    };
}

name_type! {
    /// The name of a process: what a user types to mean it.
    ProcessName
}
name_type! {
    /// The name of a node, a zerovisor.
    NodeName
}

impl ProcessName {
    /// The name a process gets when none was asked for: the basename of its command.
    pub fn of_command(command: &str) -> ProcessName {
        let base = command.trim_end_matches('/').rsplit('/').next().unwrap_or("");
        ProcessName::nearest(if base.is_empty() { "process" } else { base })
    }

    /// `name~id`: the name of a process whose own is taken. Cut so that it stays a name.
    pub fn beside(&self, id: &str) -> ProcessName {
        let mut name = self.0.to_string();
        while name.len() + 1 + id.len() > NAME_MAX_BYTES {
            name.pop();
        }
        ProcessName::nearest(&format!("{name}~{id}"))
    }
}

/// One `key=value` pair of a process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Label {
    /// Left of the `=`.
    pub key: String,
    /// Right of it; may be empty.
    pub value: String,
}

impl FromStr for Label {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Label, NameError> {
        let wrong = || NameError::BadLabel(text.chars().take(80).collect());
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let fits = |part: &str| part.len() <= LABEL_MAX_BYTES && !part.chars().any(char::is_control);
        let key_ok = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
        if key_ok && fits(key) && fits(value) {
            Ok(Label { key: key.into(), value: value.into() })
        } else {
            Err(wrong())
        }
    }
}

/// The labels of a process, sorted by key.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Collects labels; a later one of the same key wins.
    ///
    /// # Errors
    /// More than [`LABELS_MAX`].
    pub fn new(labels: impl IntoIterator<Item = Label>) -> Result<Labels, NameError> {
        let map: BTreeMap<_, _> = labels.into_iter().map(|label| (label.key, label.value)).collect();
        if map.len() > LABELS_MAX { Err(NameError::TooManyLabels(map.len())) } else { Ok(Labels(map)) }
    }

    /// Whether this exact pair is among them.
    pub fn has(&self, label: &Label) -> bool {
        self.0.get(&label.key) == Some(&label.value)
    }

    /// The pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = NameError;

    fn try_from(map: BTreeMap<String, String>) -> Result<Labels, NameError> {
        let check = |(key, value): (String, String)| format!("{key}={value}").parse::<Label>();
        Labels::new(map.into_iter().map(check).collect::<Result<Vec<_>, _>>()?)
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> BTreeMap<String, String> {
        labels.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_addressing_are_refused() {
        for bad in ["", "a/b", "a\nb", "a b", "-x", "..", &"x".repeat(300)] {
            assert!(bad.parse::<ProcessName>().is_err(), "{bad:?}");
        }
        for good in ["sh", "web-1", "naïve", "a.b~c", &"x".repeat(128)] {
            assert!(good.parse::<ProcessName>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn any_command_has_a_default_name() {
        for (command, name) in
            [("/usr/bin/env", "env"), ("a b\n", "a_b_"), ("/", "process"), ("-x", "_-x"), ("..", "_..")]
        {
            assert_eq!(ProcessName::of_command(command).as_str(), name);
        }
        let long = ProcessName::of_command(&"é".repeat(200));
        assert!(long.as_str().len() <= NAME_MAX_BYTES);
        for longest in [format!("-{}", "x".repeat(127)), format!("-{}", "é".repeat(100))] {
            let name = ProcessName::of_command(&longest);
            assert_eq!(name.as_str().parse(), Ok(name), "it is a name on the other side of the wire, too");
        }
        assert!(long.beside("0123abcd").as_str().ends_with("~0123abcd"));
    }

    #[test]
    fn a_label_is_key_equals_value() {
        assert_eq!("app=web=1".parse(), Ok(Label { key: "app".into(), value: "web=1".into() }));
        assert!("app".parse::<Label>().is_err());
        assert!("=x".parse::<Label>().is_err());
        assert!("a b=x".parse::<Label>().is_err());
    }
}
