//! Texts of the kernel (files of a process, of a cgroup, mountinfo) and names of directories in a cgroup: anything may stand there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zerovisor::watcher::sampler_fuzzing;
use zerovisor_cgroup::fuzzing;

fuzz_target!(|input: &[u8]| {
    let Some((kind, text)) = input.split_first() else { return };
    match kind % 4 {
        0 => sampler_fuzzing::parse(text),
        1 => fuzzing::files(text),
        2 => {
            let Ok(text) = std::str::from_utf8(text) else { return };
            // The two files one behind the other; no line of either is like this.
            let (mountinfo, own) = text.split_once("\n--\n").unwrap_or((text, "0::/\n"));
            fuzzing::hierarchies(mountinfo, own);
        }
        _ => {
            if let Ok(name) = std::str::from_utf8(text) {
                fuzzing::group(name.split('/').next().unwrap_or_default());
            }
        }
    }
});
