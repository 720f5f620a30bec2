//! t
/// T
pub struct Transport;
impl Transport {
    pub fn new() -> Self {
        Self
    }
}
