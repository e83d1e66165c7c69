//! The choice of a rung, with made-up mounts.

use super::*;
use std::path::Path;

const OUTSIDE: Surroundings = Surroundings { systemd: true, container: false, root: false };
const INSIDE: Surroundings = Surroundings { systemd: false, container: true, root: true };

fn v2(own: Result<&str, Barrier>) -> Seen {
    let mount_point = "/cg".into();
    Seen { version: Version::V2, controllers: Vec::new(), mount_point, own: own.map(Into::into) }
}

fn v1(controller: Controller, own: Result<&str, Barrier>) -> Seen {
    let mount_point = "/v1".into();
    Seen { version: Version::V1, controllers: vec![controller], mount_point, own: own.map(Into::into) }
}

/// Everything that shows our own cgroup is usable; v2 has these controllers enabled.
fn site(seen: Vec<Seen>, enabled: &[Controller], surroundings: Surroundings) -> Site {
    let probe = |seen: &Seen| {
        let controllers = if seen.version == Version::V2 { enabled.to_vec() } else { seen.controllers.clone() };
        Ok(Place { version: seen.version, controllers, dir: seen.own.clone()? })
    };
    Site::choose(seen, probe, surroundings)
}

fn read_only() -> Barrier {
    Barrier::ReadOnly("/cg".into())
}

#[test]
fn v2_with_its_controllers() {
    let site = site(vec![v2(Ok("/cg/own"))], &[Controller::Memory, Controller::Cpu, Controller::Pids], OUTSIDE);
    assert_eq!(site.rung(), Rung::V2);
    assert_eq!(site.why(), "cgroup v2 at /cg/own: memory cpu pids");
    assert_eq!(site.holds(Resource::Memory), Ok(()));
    let refusal = site.holds(Resource::Io).unwrap_err();
    assert_eq!(refusal.barrier, Barrier::NotDelegated("/cg/own".into()));
    assert_eq!(site.advice(), None, "io is measured only: no reason to bother anybody");
}

#[test]
fn v2_without_controllers_tells_how_to_get_them() {
    let site = site(vec![v2(Ok("/cg/own"))], &[], OUTSIDE);
    assert_eq!(site.why(), "cgroup v2 at /cg/own: no controllers");
    let refusal = site.holds(Resource::Memory).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "memory cannot be controlled: /cg/own was not given this controller; \
         try: systemd-run --user --scope -p Delegate=yes zvwatch ..."
    );
    assert_eq!(site.advice(), refusal.advice);
}

#[test]
fn hybrid_takes_from_v1_what_v2_lacks_and_nothing_more() {
    let of_v1 = [Controller::Memory, Controller::Pids, Controller::Freezer, Controller::Cpuacct, Controller::Cpu];
    let mut seen: Vec<_> = of_v1.into_iter().map(|c| v1(c, Ok("/v1/own"))).collect();
    seen.push(v2(Ok("/cg")));
    let site = site(seen, &[], OUTSIDE);
    assert_eq!(site.rung(), Rung::Hybrid);
    assert_eq!(site.why(), "cgroup v2 at /cg, with v1: memory cpu pids");
    assert_eq!(site.homes().all[0].version, Version::V2, "first");
    assert!(site.holds(Resource::Io).is_err());
}

#[test]
fn v1_alone_needs_what_v2_would_count_and_freeze_with() {
    let of_v1 = [Controller::Memory, Controller::Freezer, Controller::Cpuacct];
    let mut seen: Vec<_> = of_v1.into_iter().map(|c| v1(c, Ok("/v1/own"))).collect();
    seen.push(v2(Err(read_only())));
    let site = site(seen, &[], OUTSIDE);
    assert_eq!((site.rung(), site.why()), (Rung::V1, "cgroup v1 at /v1/own: memory cpuacct freezer".to_owned()));
}

#[test]
fn a_hierarchy_with_several_controllers_is_taken_once() {
    let mut both = v1(Controller::Cpu, Ok("/v1/cpu,cpuacct"));
    both.controllers.push(Controller::Cpuacct);
    let site = site(vec![both.clone(), both], &[], OUTSIDE);
    assert_eq!(site.homes().all.len(), 1);
}

#[test]
fn the_first_usable_of_several_mounts_is_taken() {
    let unseen = Barrier::Unseen("/a".into());
    let site = site(vec![v2(Err(unseen)), v2(Err(read_only())), v2(Ok("/c")), v2(Ok("/d"))], &[], OUTSIDE);
    assert_eq!(site.homes().v2().map(|home| home.dir.as_path()), Some(Path::new("/c")));
}

#[test]
fn the_lowest_rung_tells_the_nearest_reason_and_the_way_up() {
    let blocked = site(vec![v2(Err(Barrier::Unseen("/a".into()))), v2(Err(read_only()))], &[], INSIDE);
    assert_eq!(blocked.rung(), Rung::None);
    assert_eq!(blocked.why(), "no writable cgroup: /cg is mounted read-only");
    let advice = blocked.advice().unwrap();
    assert!(advice.contains("-v /sys/fs/cgroup:/sys/fs/cgroup:rw"), "{advice}");
    let owner = crate::Owner { pid: 1, start_ticks: 1, pid_namespace: 1 };
    let error = blocked.create(&ProcessCgroup { name: "x", id: [0; 16], owner }).unwrap_err();
    assert_eq!(error.to_string(), format!("no writable cgroup: /cg is mounted read-only; try: {advice}"));

    let session = site(vec![v2(Err(Barrier::Denied("/cg/session-1.scope".into())))], &[], OUTSIDE);
    assert_eq!(session.why(), "no writable cgroup: /cg/session-1.scope belongs to another user");
    assert_eq!(session.advice().as_deref(), Some("systemd-run --user --scope -p Delegate=yes zvwatch ..."));

    let nothing = site(Vec::new(), &[], OUTSIDE);
    assert_eq!(nothing.why(), "no writable cgroup: no such hierarchy is mounted");
}
