//! Runs the deciders of `controllers::service_account`.

use controllers::Action;
use controllers::service_account::{DEFAULT, Observed, ROOT_CA, decide};
use model::Status;
use model::tree::TreeExt;

use super::{Context, by_name, enqueue};
use crate::executor::Executor;
use crate::informer::Informer;
use crate::queue::Queue;

const WORKERS: usize = 4;

/// Gives every namespace its account and its copy of the CA. Never returns.
///
/// `publisher`: the API as the user that writes the CA.
pub async fn run(context: Context, publisher: client::Client, authority_pem: String) {
    let queue: Queue<String> = Queue::new("service-account");
    let of = |name: &'static str| {
        move |object: &serde_json::Value| (object.name() == name).then(|| object.namespace().to_owned())
    };
    let namespaces = context.informer("", "v1", "namespaces", enqueue(&queue, by_name));
    let accounts = context.informer("", "v1", "serviceaccounts", enqueue(&queue, of(DEFAULT)));
    // Only the ConfigMaps of this name: the others may be many and large.
    let selector = client::ListOptions {
        field_selector: Some(format!("metadata.name={ROOT_CA}")),
        ..Default::default()
    };
    let maps = Informer::new(client::Path::collection("", "v1", "configmaps", None), selector);
    let handlers = enqueue(&queue, of(ROOT_CA));
    tokio::spawn(maps.clone().run(context.reader.clone(), context.entropy.clone(), handlers));
    futures::future::join3(namespaces.synced(), accounts.synced(), maps.synced()).await;
    let executors = (Executor::new(context.client.clone()), Executor::new(publisher));
    queue
        .run(WORKERS, move |name| {
            let actions = decide(Observed {
                namespace: namespaces.get(&name).as_deref(),
                account: accounts.get(&format!("{name}/{DEFAULT}")).as_deref(),
                root_ca: maps.get(&format!("{name}/{ROOT_CA}")).as_deref(),
                authority_pem: &authority_pem,
            });
            let (accounts, maps): (Vec<Action>, Vec<Action>) = actions.into_iter().partition(is_account);
            let (creator, publisher) = executors.clone();
            async move {
                creator.perform(&accounts).await?;
                publisher.perform(&maps).await?;
                Ok::<(), Status>(())
            }
        })
        .await;
}

fn is_account(action: &Action) -> bool {
    matches!(action, Action::Create { target, .. } if target.plural == "serviceaccounts")
}
