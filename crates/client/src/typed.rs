//! Typed requests over any transport.

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use http::Method;
use http_body::Body as _;
use http_body_util::BodyExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use k8s_openapi::{ClusterResourceScope, Metadata, NamespaceResourceScope, Resource};
use model::{Reason, Status};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::body::Body;
use crate::options::{DeleteOptions, ListOptions, Patch, WatchOptions, WriteOptions};
use crate::transport::{Error, Transport, Upgraded};
use crate::watch::{self, WatchEvent};

/// Longest answer that is read whole.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// A request path without query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A path as it is.
    pub fn raw(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// A collection: `/api/v1/namespaces/<ns>/pods`; no namespace: all of them, or a cluster resource.
    pub fn collection(group: &str, version: &str, plural: &str, namespace: Option<&str>) -> Self {
        let root =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        Self(match namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{plural}"),
        })
    }

    /// The collection of a typed resource.
    pub fn of<T: Resource>(namespace: Option<&str>) -> Self {
        Self::collection(T::GROUP, T::VERSION, T::URL_PATH_SEGMENT, namespace)
    }

    /// Something below.
    #[must_use]
    pub fn join(&self, segment: &str) -> Self {
        Self(format!("{}/{segment}", self.0))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A list as the API answers it.
#[derive(Debug, Clone, Deserialize)]
pub struct List<T> {
    /// Revision and continue token.
    pub metadata: ListMeta,
    /// Items. An item that cannot be decoded fails the whole list: nothing is dropped silently.
    #[serde(default = "Vec::new")]
    pub items: Vec<T>,
}

/// The API client. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
}

/// A typed object with metadata.
pub trait Object:
    Resource + Metadata<Ty = ObjectMeta> + Serialize + DeserializeOwned + Clone + Send + Sync + 'static
{
}
impl<T> Object for T where
    T: Resource + Metadata<Ty = ObjectMeta> + Serialize + DeserializeOwned + Clone + Send + Sync + 'static
{
}

/// An object of a namespace.
pub trait Namespaced: Object + Resource<Scope = NamespaceResourceScope> {}
impl<T: Object + Resource<Scope = NamespaceResourceScope>> Namespaced for T {}
/// An object of the cluster.
pub trait Clustered: Object + Resource<Scope = ClusterResourceScope> {}
impl<T: Object + Resource<Scope = ClusterResourceScope>> Clustered for T {}

/// A transport failure as a status, with kubectl's reading of it left to the CLI.
fn transport_failed(error: &Error) -> Status {
    Status::new(503, Reason::ServiceUnavailable, error.to_string())
}

impl Client {
    /// A client over a transport.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }

    /// The transport.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Sends any request; answers of 400 and above are errors. The body may stream.
    pub async fn request(
        &self,
        method: Method,
        path_and_query: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<http::Response<Body>, Status> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(path_and_query)
            .header(http::header::ACCEPT, "application/json");
        if let Some(content_type) = content_type {
            request = request.header(http::header::CONTENT_TYPE, content_type);
        }
        let request = request.body(body).map_err(|error| Status::bad_request(error.to_string()))?;
        self.send(request).await
    }

    /// Sends a request made by the caller; answers of 400 and above are errors.
    pub async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, Status> {
        let response = self.transport.send(request).await.map_err(|error| transport_failed(&error))?;
        if response.status().as_u16() < 400 {
            return Ok(response);
        }
        Err(failure(response).await)
    }

    /// Upgrades a connection; a refusal is an error.
    pub async fn upgrade(&self, request: http::Request<Bytes>) -> Result<Upgraded, Status> {
        match self.transport.upgrade(request).await.map_err(|error| transport_failed(&error))? {
            Ok(upgraded) => Ok(upgraded),
            Err(response) => Err(failure(response).await),
        }
    }

    /// Sends a JSON request and reads the answer.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path_and_query: &str,
        body: Option<&Value>,
    ) -> Result<T, Status> {
        let bytes = body.map(|body| serde_json::to_vec(body).map_err(Status::internal)).transpose()?;
        let content_type = bytes.is_some().then_some("application/json");
        let response =
            self.request(method, path_and_query, content_type, bytes.unwrap_or_default().into()).await?;
        read(response).await
    }

    /// Gets one object of a namespace (or, with `None`, of the cluster).
    pub async fn get<T: Object>(&self, namespace: Option<&str>, name: &str) -> Result<T, Status> {
        self.call(Method::GET, Path::of::<T>(namespace).join(name).as_str(), None).await
    }

    /// Lists objects.
    pub async fn list<T: Object>(
        &self,
        namespace: Option<&str>,
        options: &ListOptions,
    ) -> Result<List<T>, Status> {
        let path = with_query(&Path::of::<T>(namespace), &options.query());
        self.call(Method::GET, &path, None).await
    }

    /// Watches objects.
    pub async fn watch<T: Object>(
        &self,
        namespace: Option<&str>,
        options: &WatchOptions,
    ) -> Result<impl Stream<Item = Result<WatchEvent<T>, Status>> + Send + Unpin + use<T>, Status> {
        self.watch_path(&Path::of::<T>(namespace), options).await
    }

    /// Watches a collection by path.
    pub async fn watch_path<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &Path,
        options: &WatchOptions,
    ) -> Result<impl Stream<Item = Result<WatchEvent<T>, Status>> + Send + Unpin + use<T>, Status> {
        let path = with_query(path, &options.query());
        let response = self.request(Method::GET, &path, None, Bytes::new()).await?;
        Ok(watch::events(response.into_body()))
    }

    /// Reads something in another form than plain JSON objects (`as=PartialObjectMetadataList`, `as=Table`).
    pub async fn call_as<T: DeserializeOwned>(
        &self,
        accept: &str,
        path_and_query: &str,
    ) -> Result<T, Status> {
        read(self.send(get_as(accept, path_and_query)?).await?).await
    }

    /// Watches a collection in another form than plain JSON objects.
    pub async fn watch_as<T: DeserializeOwned + Send + 'static>(
        &self,
        accept: &str,
        path: &Path,
        options: &WatchOptions,
    ) -> Result<impl Stream<Item = Result<WatchEvent<T>, Status>> + Send + Unpin + use<T>, Status> {
        let response = self.send(get_as(accept, &with_query(path, &options.query()))?).await?;
        Ok(watch::events(response.into_body()))
    }

    /// Creates an object.
    pub async fn create<T: Object>(&self, namespace: Option<&str>, object: &T) -> Result<T, Status> {
        self.create_with(namespace, object, &WriteOptions::default()).await
    }

    /// Creates an object, with options.
    pub async fn create_with<T: Object>(
        &self,
        namespace: Option<&str>,
        object: &T,
        options: &WriteOptions,
    ) -> Result<T, Status> {
        let path = with_query(&Path::of::<T>(namespace), &options.query());
        self.write(Method::POST, &path, "application/json", object).await
    }

    /// Replaces an object; its resourceVersion, if set, must be current.
    pub async fn replace<T: Object>(
        &self,
        namespace: Option<&str>,
        name: &str,
        object: &T,
    ) -> Result<T, Status> {
        self.write(Method::PUT, Path::of::<T>(namespace).join(name).as_str(), "application/json", object)
            .await
    }

    /// Replaces an object's status.
    pub async fn replace_status<T: Object>(
        &self,
        namespace: Option<&str>,
        name: &str,
        object: &T,
    ) -> Result<T, Status> {
        let path = Path::of::<T>(namespace).join(name).join("status");
        self.write(Method::PUT, path.as_str(), "application/json", object).await
    }

    /// Patches an object, or with `subresource` that.
    pub async fn patch<T: Object>(
        &self,
        namespace: Option<&str>,
        name: &str,
        subresource: Option<&str>,
        patch: &Patch,
    ) -> Result<T, Status> {
        let mut path = Path::of::<T>(namespace).join(name);
        if let Some(subresource) = subresource {
            path = path.join(subresource);
        }
        self.write(Method::PATCH, path.as_str(), patch.content_type(), patch.body()).await
    }

    /// Deletes an object. The answer is the object (being deleted) or a `Status` of success.
    pub async fn delete<T: Object>(
        &self,
        namespace: Option<&str>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Value, Status> {
        let path = Path::of::<T>(namespace).join(name);
        self.call(Method::DELETE, path.as_str(), Some(&options.body())).await
    }

    async fn write<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        method: Method,
        path_and_query: &str,
        content_type: &str,
        body: &B,
    ) -> Result<T, Status> {
        let bytes = serde_json::to_vec(body).map_err(Status::internal)?;
        let response = self.request(method, path_and_query, Some(content_type), bytes.into()).await?;
        read(response).await
    }
}

fn get_as(accept: &str, path_and_query: &str) -> Result<http::Request<Bytes>, Status> {
    let request = http::Request::get(path_and_query).header(http::header::ACCEPT, accept).body(Bytes::new());
    request.map_err(|error| Status::bad_request(error.to_string()))
}

/// A path with a query, where there is one.
pub fn with_query(path: &Path, query: &str) -> String {
    if query.is_empty() { path.as_str().to_owned() } else { format!("{}?{query}", path.as_str()) }
}

/// Reads a whole body, within bounds.
pub async fn read_bytes(mut body: Body) -> Result<Bytes, Status> {
    // A loop instead of `Limited`: its boxed error would keep callers' futures from being `Send`.
    let mut collected = bytes::BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::internal(format!("reading the answer: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if collected.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        if collected.len() + data.len() > ANSWER_BYTES_MAX {
            return Err(Status::internal("reading the answer: length limit exceeded"));
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}

async fn read<T: DeserializeOwned>(response: http::Response<Body>) -> Result<T, Status> {
    let bytes = read_bytes(response.into_body()).await?;
    serde_json::from_slice(&bytes).map_err(|error| Status::internal(format!("decoding the answer: {error}")))
}

/// The status that an answer of 400 and above stands for.
async fn failure(response: http::Response<Body>) -> Status {
    let code = response.status().as_u16();
    let bytes = match read_bytes(response.into_body()).await {
        Ok(bytes) => bytes,
        Err(status) => return status,
    };
    let status = serde_json::from_slice::<Value>(&bytes).ok().and_then(|value| Status::from_value(&value));
    status.unwrap_or_else(|| {
        let reason = match code {
            401 => Reason::Unauthorized,
            403 => Reason::Forbidden,
            404 => Reason::NotFound,
            409 => Reason::Conflict,
            503 => Reason::ServiceUnavailable,
            _ => Reason::Unknown,
        };
        Status::new(code, reason, String::from_utf8_lossy(&bytes).trim().to_owned())
    })
}
