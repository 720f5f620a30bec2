//! Certificate authority, certificates, and signed tokens.
