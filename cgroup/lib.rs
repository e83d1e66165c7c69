//! A cgroup of its own for each supervised program: finding the rung a process can stand on (v2, v1 and hybrid, none), creating,
//! limiting, measuring and killing.
//!
//! The room is reserved: today a watcher keeps its tree together as a subreaper (`zerovisor::watcher`). What belongs here knows of
//! control groups and nothing of terminals or the wire.
