//! Whatever is killed, at whatever instant: no byte is lost or doubled, nothing keeps running, no cgroup stays.

mod clients;
mod console;
mod family;
mod full_spool;
mod last_words;
mod rng;
mod tree;
mod writers;
mod zerovisor;
