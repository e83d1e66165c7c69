//! Which processes a request means.

use zerovisor_core::address::{Address, Selection};
use zerovisor_core::wire::Failure;

use super::answers::Stop;
use crate::node::hub::Target;
use crate::node::session::Node;

/// The processes of a selection; saying nothing means nothing here, since these are acted on.
///
/// # Errors
/// [`Stop`]: none is meant, or an address means several.
pub(super) async fn chosen(node: &Node, select: Selection) -> Result<Vec<Target>, Stop> {
    if select.is_empty() {
        return Err(Failure::Other("no process was named".into()).into());
    }
    let labels: Vec<String> = select.labels.iter().map(|label| format!("{}={}", label.key, label.value)).collect();
    let targets = node.hub.targets(select).await.ok_or(Stop::Gone)??;
    if targets.is_empty() {
        return Err(Failure::Unknown(format!("-l {}", labels.join(" -l "))).into());
    }
    Ok(targets)
}

/// The one process of an address.
///
/// # Errors
/// [`Stop`]: there is none, or there are several.
pub(in crate::node) async fn one(node: &Node, address: Address) -> Result<Target, Stop> {
    chosen(node, Selection { addresses: vec![address], labels: Vec::new() }).await?.pop().ok_or(Stop::Gone)
}
