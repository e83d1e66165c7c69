//! stub
#![allow(missing_docs)]
use std::time::Instant;
#[derive(Debug, Clone, Default)]
pub struct DetachKeys;
#[derive(Debug)]
pub struct DetachWatch;
impl std::str::FromStr for DetachKeys {
    type Err = String;
    fn from_str(_: &str) -> Result<Self, String> {
        Ok(DetachKeys)
    }
}
impl DetachWatch {
    pub fn new(_: DetachKeys) -> Self {
        DetachWatch
    }
    pub fn on_input(&mut self, _: Instant, b: &[u8], out: &mut Vec<u8>) -> bool {
        let s = b.split(|b| *b == 0x1d).next().unwrap_or_default();
        out.extend_from_slice(s);
        s.len() != b.len()
    }
    pub fn deadline(&self) -> Option<Instant> {
        None
    }
    pub fn on_timer(&mut self, _: Instant, _: &mut Vec<u8>) {}
}
