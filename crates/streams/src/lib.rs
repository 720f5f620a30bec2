//! Stream protocols: WebSocket channels (v4/v5.channel.k8s.io) and SPDY/3.1.
