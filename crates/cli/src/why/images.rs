//! Why an image is not there: by the words of registries and of the way to them.

use super::Diagnosis;

/// Words, and what they stand for.
const SIGNS: [(&str, Trouble); 22] = [
    ("429 Too Many Requests", Trouble::Limit),
    ("toomanyrequests", Trouble::Limit),
    ("pull access denied", Trouble::Denied),
    ("401 Unauthorized", Trouble::Denied),
    ("403 Forbidden", Trouble::Denied),
    ("authorization failed", Trouble::Denied),
    ("unauthorized", Trouble::Denied),
    ("no basic auth credentials", Trouble::Denied),
    ("x509", Trouble::Certificate),
    ("certificate", Trouble::Certificate),
    ("server gave HTTP response to HTTPS", Trouble::Certificate),
    ("no such host", Trouble::Unreachable),
    ("connection refused", Trouble::Unreachable),
    ("i/o timeout", Trouble::Unreachable),
    ("network is unreachable", Trouble::Unreachable),
    ("no route to host", Trouble::Unreachable),
    ("deadline exceeded", Trouble::Unreachable),
    ("dial tcp", Trouble::Unreachable),
    ("no space left", Trouble::Disk),
    ("no match for platform", Trouble::Platform),
    ("manifest unknown", Trouble::Missing),
    ("not found", Trouble::Missing),
];

/// What keeps an image away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Missing,
    Denied,
    Unreachable,
    Certificate,
    Limit,
    Disk,
    Platform,
}

/// About a pull that fails. `words`: everything that was said about it.
pub fn pull(container: &str, image: &str, words: &str, has_secrets: bool) -> Diagnosis {
    let trouble = SIGNS.iter().find(|(sign, _)| words.contains(sign)).map(|(_, trouble)| *trouble);
    let about = |why: &str| {
        Diagnosis::wrong(format!("the image {image:?} of container {container:?} cannot be pulled: {why}"))
    };
    match trouble {
        Some(Trouble::Missing) => about("the registry has no image of this name and tag")
            .mend("correct the name or the tag: `carob edit`, or the file and `carob apply`")
            .mend("an image of your own is made by `carob image build` or brought by `carob image import`"),
        Some(Trouble::Denied) if has_secrets => about("the registry refuses the credentials, or has no such image")
            .mend("check user, password and server name of the Secrets in spec.imagePullSecrets, and the image's name"),
        Some(Trouble::Denied) => about("the registry wants credentials, or has no such image")
            .mend("check the image's name; if it is private: `carob create secret docker-registry NAME --docker-server=… --docker-username=… --docker-password=…`")
            .mend("and name it in the Pod: `imagePullSecrets: [{name: NAME}]` under spec"),
        Some(Trouble::Unreachable) => about("the registry cannot be reached")
            .mend("check the server's name in the image, the node's network, DNS and proxy")
            .mend("without a network: `carob image import FILE` brings an image as an archive"),
        Some(Trouble::Certificate) => about("the registry's certificate is not trusted, or it speaks no TLS")
            .mend("name its CA, or plain HTTP, in registries.yaml of the node"),
        Some(Trouble::Limit) => about("the registry lets nobody in as often as this")
            .mend("wait, pull with credentials, or use a mirror in registries.yaml of the node"),
        Some(Trouble::Disk) => about("the node's disk is full").mend("`carob image ls`, `carob image rm NAME`"),
        Some(Trouble::Platform) => about("it is not made for this machine's architecture")
            .mend("use an image for this architecture"),
        None => about("see what was said").mend("correct the image's name, or look at the registry"),
    }
}

/// About an image that may not be pulled, and is not there.
pub fn never(container: &str, image: &str) -> Diagnosis {
    Diagnosis::wrong(format!(
        "the image {image:?} of container {container:?} is not on the node, and imagePullPolicy Never forbids to pull it"
    ))
    .mend(format!("bring it: `carob image pull {image}`, `carob image import FILE` or `carob image build`"))
    .mend("or take imagePullPolicy out of the Pod")
}

/// About a name that is no image's.
pub fn invalid(container: &str, image: &str) -> Diagnosis {
    Diagnosis::wrong(format!("container {container:?} names no image: {image:?} is not how images are named"))
        .mend("write NAME:TAG or REGISTRY/NAME:TAG in small letters, without spaces and quotes from texts")
}
