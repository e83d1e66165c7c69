//! Who comes: what a process is made to do, by chance.

use super::chance::Chance;
use super::model::{ENDLESS_LINES, Keep, Made, Restart, Role};
use super::writer::Writing;

/// Lines of whoever writes more than it may keep: some 5 to 10 MB, where memory holds 4 MiB.
const MANY_LINES: (u64, u64) = (80_000, 150_000);

/// A process of this number; `alone`: there is no zerovisor.
pub(super) fn process(chance: &mut Chance, index: usize, alone: bool) -> Made {
    let keep = match chance.below(if alone { 4 } else { 8 }) {
        0 => Keep::Little,
        1 => Keep::SmallDisk,
        _ => Keep::All,
    };
    let role = match keep {
        Keep::All if chance.one_in(4) => Role::Talker,
        Keep::All => Role::Writer(writing(chance)),
        Keep::Little | Keep::SmallDisk => Role::Writer(Writing { offspring: 0, ..flood(chance) }),
    };
    let endless = matches!(&role, Role::Talker | Role::Writer(Writing { lines: ENDLESS_LINES, .. }));
    // At full speed for ever it would fill the small disk by itself.
    let is_slow = matches!(&role, Role::Writer(writing) if writing.pauses_ms() >= 300);
    let restart = match chance.below(4) {
        _ if keep != Keep::All => Restart::No,
        0 if !endless && is_slow => Restart::Always,
        1 if !endless => Restart::OnFailure,
        _ => Restart::No,
    };
    // A terminal takes a line at a time.
    let terminal = keep == Keep::All && chance.one_in(2);
    // One in the foreground does not wait until a disk that is full has room for its end.
    let detached = chance.below(3) > 0 || keep == Keep::SmallDisk || (alone && chance.one_in(2));
    let console = terminal && !detached && chance.one_in(2);
    let cgroup = if chance.one_in(4) { "off" } else { "auto" };
    let limited = cgroup == "auto" && chance.one_in(4);
    let told = !alone && !console && chance.one_in(6);
    Made { index, role, terminal, detached, console, restart, cgroup, limited, keep, told }
}

fn writing(chance: &mut Chance) -> Writing {
    let (lines, batch, pace) = match chance.below(8) {
        // All at once.
        0 | 1 => (1 + chance.below(60_000), 5_000, 0),
        2 | 3 => (ENDLESS_LINES, 1 + chance.below(50), 5 + chance.below(20)),
        _ => (1 + chance.below(3_000), 1 + chance.below(200), 2 + chance.below(20)),
    };
    Writing {
        key: chance.below(1 << 30),
        lines,
        batch,
        pace,
        ending: chance.of(&[0, 0, 0, 1, 3, 7, 42, 100, 255, -9, -6, -15]),
        errors: chance.one_in(3),
        stubborn: chance.one_in(5),
        offspring: chance.below(4).saturating_sub(1),
    }
}

/// More than is kept, at full speed or almost.
fn flood(chance: &mut Chance) -> Writing {
    Writing { lines: chance.between(MANY_LINES), batch: 4_000, pace: chance.below(8), ..writing(chance) }
}
