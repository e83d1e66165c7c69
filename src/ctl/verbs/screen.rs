//! `zvctl screen`

use serde_json::{Value, json};
use zerovisor_core::escape::{Colours, RESET, escape_into};
use zerovisor_core::wire::{Answer, Ask, ScreenShown};

use super::{Asker, finish};
use crate::ctl::cli::{Format, Screen};
use crate::ctl::client::{Client, Reply};
use crate::ctl::error::CtlError;
use crate::ctl::{json, out};

/// What a terminal shows.
#[derive(Debug)]
pub struct Shown {
    /// What its text does not say.
    pub shown: ScreenShown,
    /// Its rows as UTF-8 text, each ended by a line feed.
    pub text: Vec<u8>,
}

/// Prints the rows of a process's terminal.
///
/// # Errors
/// It has none, or does not run; no answer, or a partial one.
pub async fn run(asker: &Asker, args: &Screen) -> Result<(), CtlError> {
    let mut client = asker.client().await?;
    let reply = client.answer(Ask::Screen { address: args.name.clone(), ansi: args.ansi }).await?;
    let shown = read(&client, &reply)?;
    let colours = if args.ansi { Colours::Keep } else { Colours::Escape };
    match asker.format() {
        Format::Table | Format::Wide => out::print(safe(&shown.text, colours))?,
        Format::Json => {
            let text = json::line(&object(&shown));
            out::print_line(format!(
                "{{\"screen\":{text},\"nodes\":{}}}",
                json::line(&json::NodesJson::of(&reply.nodes))
            ))?;
        }
        Format::Jsonl => out::print_line(json::line(&object(&shown)))?,
    }
    finish(&reply.nodes)
}

/// The screen in an answer.
///
/// # Errors
/// There is none.
pub fn read(client: &Client, reply: &Reply) -> Result<Shown, CtlError> {
    let (mut text, mut last) = (Vec::new(), None);
    for (answer, payload) in &reply.parts {
        let Answer::Screen { shown, .. } = answer else { return Err(client.unexpected(answer)) };
        text.extend_from_slice(payload);
        last = Some(shown.clone());
    }
    let shown = last.ok_or_else(|| client.unexpected(&Answer::End(reply.nodes.clone())))?;
    Ok(Shown { shown, text })
}

/// Rows of which nothing can command a terminal.
fn safe(text: &[u8], colours: Colours) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for row in rows(text) {
        if escape_into(row, &mut out, colours) {
            out.extend_from_slice(RESET);
        }
        out.push(b'\n');
    }
    out
}

fn rows(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.strip_suffix(b"\n").into_iter().flat_map(|text| text.split(|byte| *byte == b'\n'))
}

fn object(shown: &Shown) -> Value {
    let ScreenShown { size, cursor, title, alternate } = &shown.shown;
    json!({
        "size": { "cols": size.cols(), "rows": size.rows() },
        "cursor": cursor.map(|(col, row)| json!({ "col": col, "row": row })),
        "title": title,
        "alternate": alternate,
        "rows": rows(&shown.text).map(String::from_utf8_lossy).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use zerovisor_core::size::Size;

    use super::*;

    #[test]
    fn rows_are_whole_and_safe() {
        let text = b"a\x1b[1mb\n\n\x1b]0;t\x07\n";
        assert_eq!(safe(text, Colours::Keep), b"a\x1b[1mb\x1b[0m\n\n\\x1b]0;t\\x07\n");
        assert_eq!(safe(text, Colours::Escape), b"a\\x1b[1mb\n\n\\x1b]0;t\\x07\n");
        assert_eq!(safe(b"", Colours::Keep), b"");
        let shown = ScreenShown { size: Size::DEFAULT, cursor: Some((3, 0)), title: None, alternate: true };
        let value = object(&Shown { shown, text: b"one\n\n".to_vec() });
        assert_eq!((&value["cursor"]["col"], &value["rows"]), (&json!(3), &json!(["one", ""])));
    }
}
