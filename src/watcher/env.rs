//! The environment of a run: ours, what the command line adds, and what tells the program where it is.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use zerovisor_core::spec::ENV_NAMES_MAX;

/// Our key, which no child ever sees.
const KEY: &str = "ZV_KEY";
/// Names of variables that travel in a hello: so many bytes of them at most, since its frame is bounded.
const NAMES_MAX_BYTES: usize = 8 << 10;

/// `K=V`, or `K` for our own value of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    name: OsString,
    /// None: not set in our environment either, so not set in the child's.
    value: Option<OsString>,
}

/// Why variables cannot be given to a child.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// Not `K=V` or `K`.
    #[error("'{0}' is not a variable: write NAME=VALUE, or NAME to pass on the present value")]
    NotAVariable(String),
    /// Our key.
    #[error("{KEY} is never passed on to a child")]
    Key,
    /// The file cannot be read.
    #[error("cannot read the environment file {path:?}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of it makes no sense.
    #[error("{path:?}, line {line}: {source}")]
    Line {
        /// Of which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        source: Box<EnvError>,
    },
}

impl Variable {
    /// Reads `K=V` or `K`.
    ///
    /// # Errors
    /// No name, a NUL byte, or our key.
    pub fn parse(text: &OsStr) -> Result<Variable, EnvError> {
        let bytes = text.as_bytes();
        let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
            Some(at) => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]).to_owned())),
            None => (bytes, None),
        };
        if name.is_empty() || bytes.contains(&0) {
            return Err(EnvError::NotAVariable(text.to_string_lossy().chars().take(80).collect()));
        }
        let name = OsStr::from_bytes(name).to_owned();
        if name == KEY {
            return Err(EnvError::Key);
        }
        let value = value.or_else(|| std::env::var_os(&name));
        Ok(Variable { name, value })
    }
}

/// Reads a file of variables: one a line, taken as it is; empty lines and those that begin with `#` are skipped.
///
/// # Errors
/// The file or one of its lines cannot be read.
pub fn read_file(path: &Path) -> Result<Vec<Variable>, EnvError> {
    let bytes = fs::read(path).map_err(|source| EnvError::Unreadable { path: path.to_owned(), source })?;
    let mut variables = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() || line.trim_ascii_start().starts_with(b"#") {
            continue;
        }
        let wrong = |source| EnvError::Line { path: path.to_owned(), line: number + 1, source: Box::new(source) };
        variables.push(Variable::parse(&OsString::from_vec(line.to_vec())).map_err(wrong)?);
    }
    Ok(variables)
}

/// What the command line says about the environment.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    clear: bool,
    variables: Vec<Variable>,
}

impl Environment {
    /// `clear`: nothing of ours; `variables`: later ones win.
    pub fn new(clear: bool, variables: Vec<Variable>) -> Environment {
        Environment { clear, variables }
    }

    /// The names given, each once, as far as they may travel.
    pub fn names(&self) -> Vec<String> {
        let (mut names, mut bytes) = (Vec::new(), 0);
        for variable in &self.variables {
            let name = variable.name.to_string_lossy().into_owned();
            if !names.contains(&name) && names.len() < ENV_NAMES_MAX && bytes + name.len() <= NAMES_MAX_BYTES {
                bytes += name.len();
                names.push(name);
            }
        }
        names
    }

    /// The complete environment of a run; `ours` comes last and wins. `term`: the kind of its terminal, if it has one; it asks that for its
    /// size, which changes, and not these variables of another terminal's.
    pub fn of_run(
        &self,
        inherited: impl IntoIterator<Item = (OsString, OsString)>,
        ours: impl IntoIterator<Item = (&'static str, String)>,
        term: Option<OsString>,
    ) -> Vec<(OsString, OsString)> {
        let mut env: Vec<(OsString, OsString)> = Vec::new();
        if !self.clear {
            env.extend(inherited.into_iter().filter(|(name, _)| name != KEY));
        }
        if let Some(term) = term {
            env.retain(|(name, _)| name != "COLUMNS" && name != "LINES");
            set(&mut env, "TERM".into(), Some(term));
        }
        for Variable { name, value } in &self.variables {
            set(&mut env, name.clone(), value.clone());
        }
        for (name, value) in ours {
            set(&mut env, name.into(), Some(value.into()));
        }
        env
    }
}

fn set(env: &mut Vec<(OsString, OsString)>, name: OsString, value: Option<OsString>) {
    env.retain(|(other, _)| *other != name);
    env.extend(value.map(|value| (name, value)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(text: &str) -> Variable {
        Variable::parse(OsStr::new(text)).unwrap()
    }

    fn pairs(env: &[(OsString, OsString)]) -> Vec<String> {
        env.iter().map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy())).collect()
    }

    #[test]
    fn later_variables_win_and_our_key_never_passes() {
        let inherited = [("A", "1"), ("ZV_KEY", "secret"), ("ZV_RUN", "9")].map(|(k, v)| (k.into(), v.into()));
        let environment = Environment::new(false, vec![variable("A=2"), variable("B=x=y"), variable("B=")]);
        let env = environment.of_run(inherited.clone(), [("ZV_RUN", "1".to_owned())], None);
        assert_eq!(pairs(&env), ["A=2", "B=", "ZV_RUN=1"]);
        assert_eq!(environment.names(), ["A", "B"]);
        assert!(matches!(Variable::parse(OsStr::new("ZV_KEY")), Err(EnvError::Key)));
        assert!(Variable::parse(OsStr::new("=x")).is_err());
        assert!(Environment::new(true, vec![]).of_run(inherited, [], None).is_empty());
    }

    #[test]
    fn a_name_alone_passes_on_our_value_if_there_is_one() {
        let environment = Environment::new(true, vec![variable("PATH"), variable("ZV_SURELY_NOT_SET")]);
        assert_eq!(environment.of_run([], [], None), [("PATH".into(), std::env::var_os("PATH").unwrap())]);
    }

    #[test]
    fn a_file_is_taken_line_by_line_and_its_errors_name_the_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "# comment\n\nA= spaced \r\nB=\"quoted\"\n").unwrap();
        assert_eq!(read_file(file.path()).unwrap(), [variable("A= spaced "), variable("B=\"quoted\"")]);
        fs::write(file.path(), "A=1\n=2\n").unwrap();
        assert!(read_file(file.path()).unwrap_err().to_string().contains("line 2"));
    }
}
