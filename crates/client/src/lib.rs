//! The API client with its transports: in process and HTTPS.
