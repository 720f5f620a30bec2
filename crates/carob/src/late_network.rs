//! The Pod network, from the moment on that the node has its Pod addresses: sandboxes that come earlier wait for it.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use async_trait::async_trait;
use cri::network::{Attachment, PodNetwork};
use tokio::sync::watch;

/// A network that comes later.
#[derive(Clone)]
pub struct LateNetwork(watch::Sender<Option<Arc<net::Network>>>);

impl LateNetwork {
    /// None yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Here it is.
    pub fn set(&self, network: Arc<net::Network>) {
        self.0.send_replace(Some(network));
    }

    /// The network, if it is there.
    pub fn get(&self) -> Option<Arc<net::Network>> {
        self.0.borrow().clone()
    }

    async fn wait(&self) -> cri::Result<Arc<net::Network>> {
        let mut receiver = self.0.subscribe();
        let found = receiver.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        found.ok_or_else(|| cri::Error::unknown("the pod network is gone"))
    }
}

#[async_trait]
impl PodNetwork for LateNetwork {
    async fn attach(&self, namespace: BorrowedFd<'_>, attachment: &Attachment) -> cri::Result<Vec<IpAddr>> {
        self.wait().await?.attach(namespace, attachment).await
    }

    // What goes before the network is there is cleaned up by the `retain` that follows its opening: waiting here would
    // keep the runtime from opening, and with it the node from ever getting its addresses.
    async fn detach(&self, sandbox_id: &str) -> cri::Result<()> {
        match self.get() {
            Some(network) => network.detach(sandbox_id).await,
            None => Ok(()),
        }
    }

    async fn retain(&self, live: &[String]) -> cri::Result<()> {
        match self.get() {
            Some(network) => network.retain(live).await,
            None => Ok(()),
        }
    }
}
