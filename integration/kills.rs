//! Whatever is killed, at whatever instant: no byte is lost or doubled, nothing keeps running, no cgroup stays.

mod clients;
mod rng;
mod writers;
mod zerovisor;
