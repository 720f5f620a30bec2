//! Stream protocols: WebSocket channels (v4/v5.channel.k8s.io) and SPDY/3.1, raw or carried in a WebSocket.

pub mod channels;
pub mod spdy;
pub mod tunnel;
pub mod websocket;

/// Subprotocols of exec and attach over WebSocket, the preferred one first.
pub const CHANNEL_PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// Older subprotocols of exec and attach over WebSocket; the empty one is that of clients that name none.
pub const OLD_CHANNEL_PROTOCOLS: [&str; 4] =
    ["v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io", ""];
/// Subprotocol of port-forward: SPDY frames inside of WebSocket messages.
pub const PORT_FORWARD_TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// Protocol of port-forward over raw SPDY.
pub const PORT_FORWARD: &str = "portforward.k8s.io";
/// Protocol of exec and attach over raw SPDY.
pub const REMOTE_COMMAND_PROTOCOLS: [&str; 4] =
    ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
