//! What the children of the soak write: a stream that the model can write again, and a diary beside it that no zerovisor touches.

use std::fmt::Write as _;

use zerovisor_core::record::Kind;

/// Writes numbered lines of seeded length to standard output, every fourth or so to standard error, in batches, and writes down in its diary
/// how far it has come. Told to end it finishes its batch. Its arguments are its name, then those of [`Writing`].
pub(super) const WRITER: &str = r#"name=$1 key=$2 lines=$3 batch=$4 pace=$5 ending=$6 errors=$7 stubborn=$8 offspring=$9
diary=$name.$ZV_RUN
told=
if [ $stubborn = 1 ]; then trap '' TERM HUP; else trap 'told=43' TERM HUP; fi
trap 'echo "hit" >>$diary' USR1
echo "begun $$" >>$diary
case $offspring in
1) (setsid sh loiter $name >/dev/null 2>&1 &) ;;
2) setsid sh loiter $name & ;;
esac
. ./filler
i=0 x=$(((key + ZV_RUN * 7919) & 0x7fffffff))
finish() {
    printf 'end %d' $i
    echo "end $i $1" >>$diary
    case $1 in -*) trap - TERM; kill $1 $$; while :; do sleep 1; done ;; esac
    exit $1
}
while [ $i -lt $lines ]; do
    n=0
    while [ $n -lt $batch ] && [ $i -lt $lines ]; do
        x=$(((x * 1103515245 + 12345) & 0x7fffffff))
        if [ $errors = 1 ] && [ $((x / 65536 % 4)) = 0 ]; then
            printf '%d %d %.*s\n' $i $x $((x / 65536 % 97)) "$filler" >&2
        else
            printf '%d %d %.*s\n' $i $x $((x / 65536 % 97)) "$filler"
        fi
        i=$((i + 1)) n=$((n + 1))
    done
    echo "at $i" >>$diary
    [ -n "$told" ] && finish $told
    [ $pace = 0 ] || sleep $pace
done
finish $ending
"#;

/// Says again each line it hears.
pub(super) const TALKER: &str = r#"diary=$1.$ZV_RUN
[ -t 0 ] && stty -echo
echo "begun $$" >>$diary
while read -r line; do
    echo "heard $line"
    echo "heard $line" >>$diary
done
echo "end 0 0" >>$diary
"#;

/// Stays when all else ends, unless it is killed.
pub(super) const LOITER: &str = "trap '' TERM HUP INT\nwhile :; do sleep 1000; done\n";

/// 97 bytes, from which lines are cut anywhere: escape sequences, what is no UTF-8, and a little of everything.
const FILLER: &[u8; 97] =
    b"\x1b[31mred\x1b[0m \xc3\xa9\xe2\x82\xac\xff\xfe\x07 $HOME %s `id` \\n \x1b]0;title\x07 \x1b[2J \x1b[5;9H 0123456789 abcdefghijklmnopqrstuv\xf0\x9f";

/// The file that gives the writer its filler.
pub(super) fn filler() -> Vec<u8> {
    [b"filler='", &FILLER[..], b"'\n"].concat()
}

/// What a writer is told to do.
#[derive(Clone, Debug)]
pub(super) struct Writing {
    pub(super) key: u64,
    pub(super) lines: u64,
    pub(super) batch: u64,
    /// Hundredths of a second between two batches.
    pub(super) pace: u64,
    /// An exit code, or less than zero a signal it sends to itself.
    pub(super) ending: i32,
    pub(super) errors: bool,
    pub(super) stubborn: bool,
    pub(super) offspring: u64,
}

impl Writing {
    pub(super) fn arguments(&self) -> Vec<String> {
        let pace = if self.pace == 0 { "0".into() } else { format!("{}.{:02}", self.pace / 100, self.pace % 100) };
        let numbers = [self.key, self.lines, self.batch].map(|number| number.to_string());
        let rest = [u64::from(self.errors), u64::from(self.stubborn), self.offspring].map(|number| number.to_string());
        [&numbers[..], &[pace, self.ending.to_string()], &rest[..]].concat()
    }

    /// How long it pauses in all, in milliseconds.
    pub(super) fn pauses_ms(&self) -> u64 {
        (self.lines / self.batch).saturating_mul(self.pace * 10)
    }

    /// What the first `lines` of a run are on one of its streams; `ends` with its last words.
    pub(super) fn stream(&self, run: u32, of: Stream, lines: u64, ends: bool) -> Vec<u8> {
        let mut seed = (self.key + u64::from(run) * 7919) & 0x7fff_ffff;
        let mut bytes = Vec::new();
        for number in 0..lines {
            seed = (seed * 1_103_515_245 + 12_345) & 0x7fff_ffff;
            let is_error = self.errors && (seed / 65_536).is_multiple_of(4);
            if of == Stream::Terminal || (of == Stream::Error) == is_error {
                let length = usize::try_from(seed / 65_536 % 97).unwrap();
                bytes.extend_from_slice(format!("{number} {seed} ").as_bytes());
                bytes.extend_from_slice(&FILLER[..length]);
                bytes.extend_from_slice(of.line_end());
            }
        }
        if ends && of != Stream::Error {
            bytes.extend_from_slice(format!("end {lines}").as_bytes());
        }
        bytes
    }
}

/// Where bytes of a child go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stream {
    Output,
    Error,
    Terminal,
}

impl Stream {
    /// That of a record; none of facts.
    pub(super) fn of(kind: Kind) -> Option<Stream> {
        match kind {
            Kind::Stdout => Some(Stream::Output),
            Kind::Stderr => Some(Stream::Error),
            Kind::Terminal => Some(Stream::Terminal),
            Kind::Fact => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Stream::Output => "stdout",
            Stream::Error => "stderr",
            Stream::Terminal => "terminal",
        }
    }

    /// A terminal makes two bytes of a line feed.
    pub(super) fn line_end(self) -> &'static [u8] {
        match self {
            Stream::Output | Stream::Error => b"\n",
            Stream::Terminal => b"\r\n",
        }
    }
}

/// What a run wrote down about itself.
#[derive(Clone, Default, Debug)]
pub(super) struct Diary {
    pub(super) pid: Option<i32>,
    /// Lines written, at least.
    pub(super) at: u64,
    /// Lines written, and the exit code or minus the signal, once it is over.
    pub(super) end: Option<(u64, i32)>,
    pub(super) hits: usize,
    pub(super) heard: Vec<String>,
}

impl Diary {
    /// Reads one; a line that is not whole yet is not there yet.
    pub(super) fn of(text: &str) -> Diary {
        let mut diary = Diary::default();
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let mut words = line.splitn(2, ' ');
            let (word, rest) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            match word {
                "begun" => diary.pid = rest.parse().ok(),
                "at" => diary.at = rest.parse().unwrap(),
                "hit" => diary.hits += 1,
                "heard" => diary.heard.push(rest.to_owned()),
                "end" => {
                    let (lines, ending) = rest.split_once(' ').unwrap();
                    diary.end = Some((lines.parse().unwrap(), ending.parse().unwrap()));
                }
                other => panic!("a diary says {other:?}"),
            }
        }
        diary
    }
}

/// Where two byte strings part, for people.
pub(super) fn parting(is: &[u8], should: &[u8]) -> String {
    let at = is.iter().zip(should).position(|(is, should)| is != should).unwrap_or(is.len().min(should.len()));
    let around = |bytes: &[u8]| {
        let from = at.saturating_sub(30).min(bytes.len());
        bytes[from..(at + 30).min(bytes.len())].escape_ascii().to_string()
    };
    let mut told = String::new();
    let _ = write!(told, "first differing byte {at} of {} and {}: ", is.len(), should.len());
    let _ = write!(told, "is \"..{}..\", should be \"..{}..\"", around(is), around(should));
    told
}
