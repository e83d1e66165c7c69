//! A program that writes a known sequence at full speed until it is told that it is enough.

use std::fs;

use super::farm::Farm;
use super::run::Program;

/// The file whose name `counting` looks for is `enough`; how far it came goes to NAME.count, which no zerovisor touches.
const SCRIPT: &str = "i=0
while [ ! -e enough ]; do seq $i $((i + 9999)); i=$((i + 10000)); done
echo $i > $ZV_NAME.count
";

/// Starts one under a watcher in the foreground.
pub(crate) fn count(farm: &Farm, name: &str) -> Program {
    farm.script("counting", SCRIPT);
    farm.watch(&["--name", name, "sh", "counting"])
}

/// Lets all of the farm end.
pub(crate) fn enough(farm: &Farm) {
    fs::write(farm.path("enough"), "").unwrap();
}

/// Asserts that this is what the program of that name wrote: every number once and in order.
pub(crate) fn assert_counted(farm: &Farm, name: &str, written: &[u8]) {
    let count: u64 = farm.text(&format!("{name}.count")).trim().parse().unwrap();
    let mut expected = 0;
    for line in written.split_inclusive(|byte| *byte == b'\n') {
        assert_eq!(String::from_utf8_lossy(line), format!("{expected}\n"), "{name}, of {count}");
        expected += 1;
    }
    assert_eq!(expected, count, "{name} is whole");
}
