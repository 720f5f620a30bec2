//! What types and fields are for, in upstream's words. They are kept compressed and read only while a document is made.

use std::io::Read;

use crate::schema::Definition;
use crate::schema::table::definitions;

/// As `cargo xtask derive-tables` writes it.
const PACKED: &[u8] = include_bytes!("../generated/descriptions.bin");

/// The texts, unpacked.
pub struct Descriptions {
    plain: Vec<u8>,
    /// Where each text begins; the last entry is the end of all.
    texts: Vec<usize>,
    /// For each definition, where the numbers of its texts begin.
    numbers: Vec<usize>,
}

impl Descriptions {
    /// Unpacks them.
    pub fn unpack() -> Self {
        let mut plain = Vec::new();
        // The file is part of the program and tested below; without it fields have no descriptions.
        if flate2::read::DeflateDecoder::new(PACKED).read_to_end(&mut plain).is_err() {
            plain.clear();
        }
        let count = number(&plain, 0);
        let mut texts = vec![2];
        while texts.len() <= count {
            let start = texts[texts.len() - 1];
            let Some(length) = plain.get(start..).and_then(|rest| rest.iter().position(|byte| *byte == 0))
            else {
                break;
            };
            texts.push(start + length + 1);
        }
        let mut at = texts[texts.len() - 1];
        let mut numbers = Vec::with_capacity(definitions().len());
        for definition in definitions() {
            numbers.push(at);
            at += 2 * (definition.fields.len() + 1);
        }
        Self { plain, texts, numbers }
    }

    /// A definition's text, or empty.
    pub fn of(&self, definition: &Definition) -> &str {
        self.find(definition, 0)
    }

    /// The text of a definition's field, by its place among the fields, or empty.
    pub fn of_field(&self, definition: &Definition, place: usize) -> &str {
        self.find(definition, place + 1)
    }

    fn find(&self, definition: &Definition, place: usize) -> &str {
        let at = definitions().binary_search_by(|own| own.name.cmp(definition.name)).ok();
        let Some(numbers) = at.and_then(|at| self.numbers.get(at)) else { return "" };
        let text = number(&self.plain, numbers + 2 * place);
        let (Some(start), Some(end)) = (self.texts.get(text), self.texts.get(text + 1)) else { return "" };
        self.plain.get(*start..end - 1).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("")
    }
}

fn number(bytes: &[u8], at: usize) -> usize {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |pair| usize::from(u16::from_le_bytes(*pair)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::definition;

    #[test]
    fn fields_are_described() {
        let texts = Descriptions::unpack();
        let pod = definition("io.k8s.api.core.v1.Pod").unwrap();
        assert!(texts.of(pod).starts_with("Pod is a collection of containers that can run on a host."));
        let place = pod.fields.iter().position(|field| field.name == "kind").unwrap();
        assert!(texts.of_field(pod, place).starts_with("Kind is a string value"));
        let last = definitions().last().unwrap();
        assert!(!texts.of(last).is_empty(), "{}", last.name);
        let all = definitions().iter().flat_map(|own| (0..own.fields.len()).map(move |at| (own, at)));
        let (described, bare): (Vec<_>, Vec<_>) =
            all.partition(|(own, at)| !texts.of_field(own, *at).is_empty());
        // Lists of kinds have none.
        assert!(bare.len() * 10 < described.len(), "{} without, {} with", bare.len(), described.len());
        assert!(PACKED.len() < 450_000);
    }
}
