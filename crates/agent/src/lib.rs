//! The node agent: performs podlogic's actions on the runtime, volumes, probes, status, node API.
