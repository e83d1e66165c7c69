use proptest::prelude::*;

use super::*;

const START: Size = Size::DEFAULT;

fn size(cols: u16, rows: u16) -> Size {
    Size::new(cols, rows).unwrap()
}

fn terminal(policy: SizePolicy) -> Viewers {
    Viewers::new(policy, START)
}

fn sized(cols: u16, rows: u16) -> Attach {
    Attach { size: Some(size(cols, rows)), ..Attach::default() }
}

fn read_only(cols: u16, rows: u16) -> Attach {
    Attach { read_only: true, ..sized(cols, rows) }
}

#[test]
fn size_follows_the_latest_active_viewer() {
    let mut viewers = terminal(SizePolicy::Latest);
    assert_eq!(viewers.attach(1, sized(100, 30)).unwrap().size, Some(size(100, 30)));
    assert_eq!(
        viewers.attach(2, sized(120, 40)).unwrap().size,
        Some(size(120, 40)),
        "attaching with a size is activity"
    );
    assert_eq!(viewers.typed(1), Ok(Some(size(100, 30))), "typing is");
    assert_eq!(viewers.typed(1), Ok(None), "nothing changed");
    assert_eq!(viewers.resize(2, size(90, 20)), Ok(Some(size(90, 20))), "resizing is");
    assert_eq!(viewers.active(), Some(2));
}

#[test]
fn the_size_goes_to_who_was_active_before_and_stays_with_nobody_left() {
    let mut viewers = terminal(SizePolicy::Latest);
    for (id, cols) in [(1, 100), (2, 110), (3, 120)] {
        viewers.attach(id, sized(cols, 30)).unwrap();
    }
    viewers.typed(1).unwrap();
    assert_eq!(viewers.detach(1), Some(size(120, 30)), "3 was active before 1");
    assert_eq!(viewers.detach(2), None, "it was not the active one");
    assert_eq!(viewers.detach(3), None);
    assert_eq!(viewers.size(), size(120, 30));
    assert_eq!(viewers.detach(3), None, "twice is not wrong");
}

#[test]
fn a_read_only_viewer_neither_types_nor_counts() {
    for policy in [SizePolicy::Latest, SizePolicy::Largest, SizePolicy::Smallest, SizePolicy::Fixed] {
        let mut viewers = terminal(policy);
        assert_eq!(viewers.attach(1, read_only(200, 5)), Ok(Attached::default()));
        assert_eq!(viewers.resize(1, size(300, 3)), Ok(None));
        assert_eq!(viewers.typed(1), Err(Denied::ReadOnly(1)));
        assert_eq!((viewers.size(), viewers.active()), (START, None), "{policy}");
        assert_eq!(viewers.get(1).unwrap().size, Some(size(300, 3)), "its frames have its own size");
    }
}

#[test]
fn a_viewer_without_a_size_types_and_leaves_the_size_alone() {
    let mut viewers = terminal(SizePolicy::Latest);
    viewers.attach(1, sized(100, 30)).unwrap();
    assert_eq!(viewers.attach(2, Attach::default()), Ok(Attached::default()));
    assert_eq!(viewers.typed(2), Ok(None));
    assert_eq!((viewers.size(), viewers.active()), (size(100, 30), Some(2)));
}

#[test]
fn largest_and_smallest_go_by_all_that_count() {
    let mut viewers = terminal(SizePolicy::Largest);
    viewers.attach(1, sized(100, 20)).unwrap();
    assert_eq!(viewers.attach(2, sized(90, 40)).unwrap().size, Some(size(100, 40)));
    assert_eq!(viewers.typed(1), Ok(None));
    assert_eq!(viewers.set_policy(SizePolicy::Smallest), Some(size(90, 20)));
    assert_eq!(viewers.detach(2), Some(size(100, 20)));
    assert_eq!(viewers.set_policy(SizePolicy::Fixed), None);
    assert_eq!(viewers.resize(1, size(10, 10)), Ok(None));
    assert_eq!(viewers.size(), size(100, 20));
    assert_eq!(viewers.set_policy(SizePolicy::Latest), Some(size(10, 10)));
}

#[test]
fn stealing_detaches_all_others() {
    let mut viewers = terminal(SizePolicy::Latest);
    viewers.attach(7, sized(100, 30)).unwrap();
    viewers.attach(3, read_only(50, 50)).unwrap();
    let attached = viewers.attach(9, Attach { steal: true, ..sized(120, 40) });
    assert_eq!(attached, Ok(Attached { size: Some(size(120, 40)), stolen: vec![3, 7] }));
    assert_eq!(viewers.iter().map(|(id, _)| id).collect::<Vec<_>>(), [9]);
    assert_eq!(viewers.typed(7), Err(Denied::NotAttached(7)));
    assert_eq!(viewers.resize(7, START), Err(Denied::NotAttached(7)));
}

#[test]
fn there_is_room_for_so_many_and_a_thief() {
    let mut viewers = terminal(SizePolicy::Latest);
    for id in 0..VIEWERS_MAX as u64 {
        viewers.attach(id, read_only(80, 24)).unwrap();
    }
    assert_eq!(viewers.attach(1000, sized(100, 30)), Err(Denied::Full));
    assert_eq!(viewers.attach(5, Attach { steal: true, ..sized(100, 30) }), Err(Denied::Attached(5)));
    assert_eq!(viewers.iter().count(), VIEWERS_MAX);
    let attached = viewers.attach(1000, Attach { steal: true, ..sized(100, 30) }).unwrap();
    assert_eq!((attached.stolen.len(), viewers.iter().count()), (VIEWERS_MAX, 1));
}

#[test]
fn policies_are_shown_as_they_are_read() {
    for policy in [SizePolicy::Latest, SizePolicy::Largest, SizePolicy::Smallest, SizePolicy::Fixed] {
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }
    assert!("biggest".parse::<SizePolicy>().is_err());
    assert_eq!(SizePolicy::default(), SizePolicy::Latest);
}

proptest! {
    #[test]
    fn every_change_of_size_is_told_and_nothing_else(
        policy in prop::sample::select(vec![SizePolicy::Latest, SizePolicy::Largest, SizePolicy::Smallest, SizePolicy::Fixed]),
        steps in prop::collection::vec((0u64..6, 0u8..4, 1u16..5, any::<bool>()), 0..60),
    ) {
        let mut viewers = terminal(policy);
        for (id, step, cols, flag) in steps {
            let before = viewers.size();
            let told = match step {
                0 => viewers.attach(id, Attach { read_only: flag, ..sized(cols, 5) }).ok().and_then(|attached| attached.size),
                1 => viewers.detach(id),
                2 => viewers.resize(id, size(cols, 6)).ok().flatten(),
                _ => viewers.typed(id).ok().flatten(),
            };
            prop_assert_eq!(told, (viewers.size() != before).then_some(viewers.size()));
            let counted = viewers.iter().filter(|(_, viewer)| !viewer.read_only);
            let sizes: Vec<Size> = counted.filter_map(|(_, viewer)| viewer.size).collect();
            if policy == SizePolicy::Latest && !sizes.is_empty() {
                let active = viewers.active().and_then(|id| viewers.get(id)).and_then(|viewer| viewer.size);
                prop_assert_eq!(Some(viewers.size()), active);
            }
        }
    }
}
