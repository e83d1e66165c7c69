//! `zvctl attach`

use zerovisor_core::units::Bytes;
use zerovisor_core::wire::AttachAsk;

use super::Asker;
use crate::ctl::attached::{Attached, End, Linked};
use crate::ctl::cli::Attach;
use crate::ctl::error::{CtlError, status};
use crate::tty::{Console, Ended, LEAVE, UserTerminal, notice};

/// Shows the terminal of a process on ours until one of them ends it. Whatever forbids it is said before our terminal is touched.
///
/// # Errors
/// The program's status; it cannot be viewed; the link is lost for good.
pub async fn run(asker: &Asker, args: &Attach) -> Result<(), CtlError> {
    let terminal = UserTerminal::open().map_err(|error| CtlError::Usage(error.to_string()))?;
    let size = terminal.size();
    let ask = AttachAsk { address: args.name.clone(), size: Some(size), read_only: args.read_only, steal: args.steal };
    let linked = Linked::attach(asker, ask, size).await?;
    let name = linked.name().to_owned();
    if std::env::var("ZV_ID").is_ok_and(|own| linked.is(&own)) {
        let inside = format!("this shell runs inside '{name}': its terminal would show itself without end");
        return Err(CtlError::Usage(format!("{inside}; attach to it from another terminal")));
    }
    let keys = args.detach_keys.clone().unwrap_or_default();
    let console = Console::open(terminal, keys, LEAVE).map_err(|error| CtlError::io("take this terminal", error))?;
    let (end, skipped_bytes) = Attached::new(asker, linked, console, args.read_only).run().await;
    tell(args, &name, end, skipped_bytes)
}

fn tell(args: &Attach, name: &str, end: End, skipped_bytes: u64) -> Result<(), CtlError> {
    let say = |line: String| {
        if !args.quiet {
            notice(&line);
        }
    };
    if skipped_bytes > 0 {
        let skipped = Bytes(skipped_bytes);
        say(format!(
            "{skipped} came faster than this terminal took them and were not shown; zvctl logs --raw {name} has them"
        ));
    }
    match end {
        End::Detached => {
            say(format!("detached from {name}; zvctl attach {} returns to it", args.name));
            Ok(())
        }
        End::RunEnded { status, what, again } => {
            let then = if again { "; it is started again" } else { "" };
            say(format!("{name} ended: {what}{then}"));
            if status == 0 { Ok(()) } else { Err(CtlError::Silent(status)) }
        }
        End::SentAway(why) => {
            Err(CtlError::Told { line: format!("sent away from {name}: {why}"), status: status::ERROR })
        }
        End::Console(Ended::Signal(signal)) => {
            say(format!("detached from {name} by {signal}; zvctl attach {} returns to it", args.name));
            Err(CtlError::Silent(u8::try_from(128 + signal.number()).unwrap_or(u8::MAX)))
        }
        End::Console(Ended::HungUp) => {
            Err(CtlError::Told { line: format!("detached from {name}: this terminal hung up"), status: status::ERROR })
        }
        End::Console(Ended::Failed(error)) => Err(CtlError::io("use this terminal", error)),
        End::Lost(error) => Err(error),
    }
}
