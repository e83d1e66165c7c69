//! Texts of /proc as real systems show them.

use super::*;

/// Each mount: version, controllers, and the own directory or the barrier.
fn shown(mountinfo: &str, own: &str) -> Vec<String> {
    let one = |seen: Seen| {
        let names: Vec<_> = seen.controllers.iter().map(|c| c.name(seen.version)).collect();
        let own = seen.own.map_or_else(|barrier| format!("no: {barrier}"), |dir| dir.display().to_string());
        format!("{:?} [{}] {own}", seen.version, names.join(" "))
    };
    seen(mountinfo, own).into_iter().map(one).collect()
}

#[test]
fn a_mount_without_an_absolute_path_is_none() {
    let own = "0::/a\n";
    let line = |root: &str, point: &str| format!("30 24 0:26 {root} {point} rw - cgroup2 cgroup2 rw\n");
    assert_eq!(seen(&line("/", "/m"), own).len(), 1);
    for (root, point) in [("", "/m"), ("a", "/m"), ("/", ""), ("/", "m")] {
        assert_eq!(seen(&line(root, point), own), [], "{root:?} at {point:?}");
    }
}

#[test]
fn a_session_of_systemd_on_v2() {
    let mountinfo = "\
        24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
        30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
    let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-u3.scope\n";
    assert_eq!(
        shown(mountinfo, own),
        ["V2 [] /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/run-u3.scope"]
    );
}

const HYBRID: &str = "\
    31 23 0:28 / /sys/fs/cgroup ro,nosuid shared:5 - tmpfs tmpfs ro,mode=755\n\
    32 31 0:29 / /sys/fs/cgroup/unified rw,relatime shared:6 - cgroup2 cgroup2 rw\n\
    33 31 0:30 / /sys/fs/cgroup/systemd rw,relatime shared:7 - cgroup cgroup rw,xattr,name=systemd\n\
    34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:8 - cgroup cgroup rw,cpu,cpuacct\n\
    35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
    36 31 0:33 / /sys/fs/cgroup/blkio rw,relatime shared:10 - cgroup cgroup rw,blkio\n\
    37 31 0:34 / /sys/fs/cgroup/cpuset rw,relatime shared:11 - cgroup cgroup rw,cpuset\n\
    38 31 0:35 / /sys/fs/cgroup/devices rw,relatime shared:12 - cgroup cgroup rw,devices\n";

#[test]
fn v1_beside_v2_each_with_a_path_of_its_own() {
    let own = "6:memory:/jobs/1\n5:cpu,cpuacct:/\n4:blkio:/jobs\n3:cpuset:/\n2:devices:/\n1:name=systemd:/init.scope\n0::/init.scope\n";
    assert_eq!(
        shown(HYBRID, own),
        [
            "V2 [] /sys/fs/cgroup/unified/init.scope",
            "V1 [cpu cpuacct] /sys/fs/cgroup/cpu,cpuacct",
            "V1 [memory] /sys/fs/cgroup/memory/jobs/1",
            "V1 [blkio] /sys/fs/cgroup/blkio/jobs",
        ]
    );
}

#[test]
fn v1_without_a_line_of_its_own_is_not_seen() {
    let shown = shown(HYBRID, "0::/x\n");
    assert_eq!(shown[0], "V2 [] /sys/fs/cgroup/unified/x");
    assert_eq!(shown[1], "V1 [cpu cpuacct] no: the mount at /sys/fs/cgroup/cpu,cpuacct does not show our own cgroup");
}

#[test]
fn a_container_with_a_cgroup_namespace_and_the_usual_read_only_mount() {
    let mountinfo = "600 599 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n";
    assert_eq!(shown(mountinfo, "0::/\n"), ["V2 [] no: /sys/fs/cgroup is mounted read-only"]);
    let writable = mountinfo.replace(" ro,", " rw,");
    assert_eq!(shown(&writable, "0::/\n"), ["V2 [] /sys/fs/cgroup"]);
    let super_read_only = writable.replace("cgroup rw", "cgroup ro");
    assert_eq!(shown(&super_read_only, "0::/\n"), ["V2 [] no: /sys/fs/cgroup is mounted read-only"]);
}

#[test]
fn a_container_without_a_cgroup_namespace_sees_a_part_of_the_tree() {
    let v1 = "700 699 0:32 /docker/abc /sys/fs/cgroup/memory rw,nosuid master:9 - cgroup cgroup rw,memory\n";
    assert_eq!(shown(v1, "4:memory:/docker/abc\n"), ["V1 [memory] /sys/fs/cgroup/memory"]);
    assert_eq!(shown(v1, "4:memory:/docker/abc/sub\n"), ["V1 [memory] /sys/fs/cgroup/memory/sub"]);
    let elsewhere = ["V1 [memory] no: the mount at /sys/fs/cgroup/memory does not show our own cgroup"];
    assert_eq!(shown(v1, "4:memory:/docker/abcd\n"), elsewhere);
    assert_eq!(shown(v1, "4:memory:/docker\n"), elsewhere);
}

#[test]
fn a_mount_from_outside_of_the_namespace_is_not_usable() {
    let hidden = ["V2 [] no: the mount at /sys/fs/cgroup does not show our own cgroup"];
    let outside = "600 599 0:26 /../../.. /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
    assert_eq!(shown(outside, "0::/\n"), hidden);
    let inside = "600 599 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
    assert_eq!(shown(inside, "0::/../other\n"), hidden);
    assert_eq!(shown(inside, "0::/gone (deleted)\n"), hidden);
}

#[test]
fn several_mounts_of_one_hierarchy_are_all_told_in_order() {
    let mountinfo = "\
        1 0 0:26 /other /a rw - cgroup2 cgroup2 rw\n\
        2 0 0:26 / /b ro - cgroup2 cgroup2 rw\n\
        3 0 0:26 /x /c rw - cgroup2 cgroup2 rw\n";
    assert_eq!(
        shown(mountinfo, "0::/x/y\n"),
        ["V2 [] no: the mount at /a does not show our own cgroup", "V2 [] no: /b is mounted read-only", "V2 [] /c/y"]
    );
}

#[test]
fn odd_paths_are_unescaped_and_unprintable_ones_left_alone() {
    let mountinfo = "1 0 0:26 / /my\\040groups\\134x rw - cgroup2 cgroup2 rw\n";
    assert_eq!(shown(mountinfo, "0::/a:b\n"), ["V2 [] /my groups\\x/a:b"]);
    assert_eq!(unescape("a\\"), "a\\");
    assert_eq!(unescape("\\04"), "\\04");
    assert_eq!(unescape("\\999x"), "\\999x");
    let newline = "1 0 0:26 / /a\\012b rw - cgroup2 cgroup2 rw\n";
    assert!(seen(newline, "0::/\n")[0].own.is_err());
}

#[test]
fn a_hierarchy_with_cpusets_is_refused_by_name() {
    let mountinfo = "1 0 0:26 / /c rw - cgroup cgroup rw,cpuset,cpu\n";
    assert!(shown(mountinfo, "1:cpuset,cpu:/\n")[0].contains("cpusets"));
}

#[test]
fn nonsense_is_passed_over() {
    for text in ["", "\n\n", " - ", "1 2 3", "a b c d e f - cgroup2", "x - cgroup2 y z", "1 0 0:1 / /a rw - tmpfs t rw"]
    {
        assert_eq!(seen(text, "0::/\n"), [], "{text:?}");
    }
    assert!(seen("1 0 0:26 / /a rw - cgroup2 c rw\n", "nonsense\n::\n")[0].own.is_err());
}
