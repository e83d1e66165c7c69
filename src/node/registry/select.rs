//! Which processes are meant, and their rows.

use std::collections::BTreeMap;
use std::time::Instant;

use zerovisor_core::address::{Address, Candidate, Selection, Unresolved};
use zerovisor_core::id::Id;
use zerovisor_core::name::ProcessName;
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::ProcessRow;
use zerovisor_core::wire::Failure;

use super::Registry;

impl Registry {
    /// The ids a selection means, each once, addressed ones first.
    ///
    /// # Errors
    /// An address means none or several.
    pub(in crate::node) fn select(&self, select: &Selection) -> Result<Vec<Id>, Failure> {
        let candidates: Vec<Candidate> = self.entries.values().map(|entry| entry.candidate(&self.node)).collect();
        let mut ids = Vec::new();
        for address in &select.addresses {
            let id = resolve(address, &candidates)?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let mut by_label: BTreeMap<(ProcessName, Id), Id> = BTreeMap::new();
        for entry in self.entries.values() {
            let wanted = if select.is_empty() { true } else { select.labels_match(&entry.meta.spec.labels) };
            if wanted && !ids.contains(&entry.meta.id) {
                by_label.insert((entry.meta.name.clone(), entry.meta.id), entry.meta.id);
            }
        }
        ids.extend(by_label.into_values());
        Ok(ids)
    }

    /// The rows of a selection.
    ///
    /// # Errors
    /// As [`Registry::select`].
    pub(in crate::node) fn rows(
        &self,
        select: &Selection,
        ended: bool,
        now: Instant,
        wall: Timestamp,
    ) -> Result<Vec<ProcessRow>, Failure> {
        let ids = self.select(select)?;
        let rows = ids.iter().filter_map(|id| self.entries.get(id)).map(|entry| entry.row(&self.node, now, wall));
        let named = !select.addresses.is_empty();
        Ok(rows.filter(|row| ended || named || row.state.is_live()).collect())
    }
}

fn resolve(address: &Address, candidates: &[Candidate]) -> Result<Id, Failure> {
    address.resolve(candidates.iter()).map(|candidate| candidate.id).map_err(|unresolved| match unresolved {
        Unresolved::Unknown(address) => Failure::Unknown(address.to_string()),
        Unresolved::Ambiguous { ref candidates, .. } => Failure::Ambiguous(unresolved.to_string(), candidates.clone()),
    })
}
