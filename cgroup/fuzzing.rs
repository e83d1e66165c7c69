//! What the fuzz targets of `fuzz/` reach of this crate: the texts of kernel files.

use std::path::Path;

use crate::name::GroupName;
use crate::{hierarchies, parse};

/// Each parser of a file of a cgroup.
pub fn files(text: &[u8]) {
    assert!(parse::pids(text).iter().all(|pid| *pid > 0), "a pid that kill(2) takes for a group");
    let _number = parse::single(text);
    let _values = parse::keyed(text, ["usage_usec", "oom_kill", "populated"]);
    let (_v2, _v1) = (parse::io_v2(text), parse::io_v1(text));
    let _share = parse::pressure(text);
    let _within = parse::is_within(text, "web-1.2.3");
}

/// `/proc/self/mountinfo` and `/proc/self/cgroup`: what is found to be our own is below its mount, and a printable path.
pub fn hierarchies(mountinfo: &str, own: &str) {
    for seen in hierarchies::seen(mountinfo, own) {
        if let Ok(dir) = seen.own {
            let straight = |path: &Path| path.components().all(|part| part.as_os_str() != "..");
            let printable = dir.to_str().is_some_and(|path| !path.contains(char::is_control));
            let below = dir.starts_with(&seen.mount_point);
            assert!(below && printable && (straight(&dir) || !straight(&seen.mount_point)), "{}", dir.display());
        }
    }
}

/// The name of a directory: one that is taken for ours is one plain component.
pub fn group(name: &str) {
    if let Some(group) = GroupName::parse(name) {
        assert_eq!(group.as_str(), name);
        assert!(!name.contains('/') && !name.starts_with('.'), "{name}");
        assert!(group.owner().pid > 0);
    }
}
