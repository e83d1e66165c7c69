//! The verbs of terminals: attach, screen, send.

use clap::Args;
use zerovisor_core::address::Address;
use zerovisor_core::detach::DetachKeys;
use zerovisor_core::keys::Key;

/// `zvctl attach`
#[derive(Args, Debug)]
#[command(after_help = ATTACH_HELP)]
pub struct Attach {
    /// The process: NAME, ID or NODE/NAME
    #[arg(value_name = "NAME")]
    pub name: Address,
    /// Look only: nothing typed reaches the program, and its terminal keeps its size
    #[arg(short, long)]
    pub read_only: bool,
    /// Say nothing on standard error about how it ended
    #[arg(short, long)]
    pub quiet: bool,
    /// The keys that leave it running, such as ctrl-p,ctrl-q; none for no such keys [default: Ctrl-] three times within a second]
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<DetachKeys>,
    /// Send every other viewer away
    #[arg(long)]
    pub steal: bool,
}

const ATTACH_HELP: &str = "\
Shows the present screen, then everything the program writes; what is typed goes to the program, Ctrl-C included. \
A first Ctrl-] is sent on with the next key, or after half a second. The size of the program's terminal follows yours. \
When the link is lost it is tried again for 10 s; what is typed meanwhile is not sent.

Exit status: the program's own when it ends; 0 after the detach keys; 1 when sent away; 255 when the link is lost for good. \
Without a terminal of your own: zvctl screen, zvctl send, zvctl wait --text, zvctl logs -f.";

/// `zvctl screen`
#[derive(Args, Debug)]
#[command(after_help = SCREEN_HELP)]
pub struct Screen {
    /// The process: NAME, ID or NODE/NAME
    #[arg(value_name = "NAME")]
    pub name: Address,
    /// Keep colours and attributes, in a pipe too
    #[arg(long)]
    pub ansi: bool,
}

const SCREEN_HELP: &str = "\
Prints the rows of the program's terminal as they are now. \
In JSON: size{cols,rows}, cursor{col,row} from 0 or null where it is hidden, title, alternate, rows.";

/// `zvctl send`
#[derive(Args, Debug)]
#[command(after_help = SEND_HELP)]
pub struct Send {
    /// The process: NAME, ID or NODE/NAME
    #[arg(value_name = "NAME")]
    pub name: Address,
    /// Words, joined by spaces and followed by Enter; - or nothing for standard input as it is
    #[arg(value_name = "TEXT")]
    pub text: Vec<String>,
    /// A key behind the words, and no Enter then; given several times, one after the other
    #[arg(short, long = "key", value_name = "KEY")]
    pub keys: Vec<Key>,
    /// Close its standard input then; at a terminal: type Ctrl-D
    #[arg(long)]
    pub eof: bool,
    /// No Enter behind the words
    #[arg(short = 'n', long)]
    pub no_newline: bool,
}

const SEND_HELP: &str = "\
Keys: a character, or Enter Escape Tab BTab Space BSpace Up Down Left Right Home End PageUp PageDown Insert Delete F1 to F12, \
with C- (Ctrl), M- (Alt) and S- (Shift) before it, such as C-c or M-x. They are sent as the program's terminal would send them now. \
Enter is a carriage return at a terminal and a line feed on a pipe.

Step by step, as expect does it: zvctl send sh 'make test' && zvctl wait sh --text 'passed|FAILED' --timeout 5m";
