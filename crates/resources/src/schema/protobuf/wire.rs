//! Protobuf's wire format: variable-length integers, tags, and values with a length. Errors are those of upstream's
//! generated code.

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireType {
    /// An integer.
    Varint,
    /// Eight bytes.
    Fixed64,
    /// A length and so many bytes.
    Bytes,
    /// Anything else, by number.
    Other(u8),
}

impl WireType {
    fn of(tag: u64) -> Self {
        match (tag & 7) as u8 {
            0 => Self::Varint,
            1 => Self::Fixed64,
            2 => Self::Bytes,
            other => Self::Other(other),
        }
    }

    /// Its number.
    pub fn number(self) -> u8 {
        match self {
            Self::Varint => 0,
            Self::Fixed64 => 1,
            Self::Bytes => 2,
            Self::Other(number) => number,
        }
    }
}

const CUT_OFF: &str = "unexpected EOF";

/// Reads values one after the other.
pub struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    /// At the beginning.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field: number and how its value is written. `name` is the message's, for errors.
    pub fn tag(&mut self, name: &str) -> Result<(u32, WireType), String> {
        let tag = self.varint()?;
        let (number, wire) = ((tag >> 3) as u32, WireType::of(tag));
        if wire == WireType::Other(4) {
            return Err(format!("proto: {name}: wiretype end group for non-group"));
        }
        if i32::try_from(number).map_or(true, |number| number <= 0) {
            return Err(format!(
                "proto: {name}: illegal tag {} (wire type {})",
                number.cast_signed(),
                wire.number()
            ));
        }
        Ok((number, wire))
    }

    /// An integer.
    pub fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(CUT_OFF)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("proto: integer overflow".into())
    }

    /// Eight bytes.
    pub fn fixed64(&mut self) -> Result<[u8; 8], String> {
        let (value, rest) = self.rest.split_first_chunk().ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(*value)
    }

    /// A length and so many bytes.
    pub fn bytes(&mut self) -> Result<&'b [u8], String> {
        let length = self.varint()?;
        if i64::try_from(length).is_err() {
            return Err("proto: negative length found during unmarshaling".into());
        }
        let length = usize::try_from(length).map_err(|_| CUT_OFF)?;
        let (value, rest) = self.rest.split_at_checked(length).ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(value)
    }

    /// Passes over a value, groups with all that is in them.
    pub fn skip(&mut self, wire: WireType) -> Result<(), String> {
        let mut wire = wire;
        let mut groups = 0_usize;
        loop {
            match wire {
                WireType::Varint => drop(self.varint()?),
                WireType::Fixed64 => drop(self.fixed64()?),
                WireType::Bytes => drop(self.bytes()?),
                WireType::Other(3) => groups += 1,
                WireType::Other(4) if groups == 0 => return Err("proto: unexpected end of group".into()),
                WireType::Other(4) => groups -= 1,
                WireType::Other(5) => self.rest = self.rest.get(4..).ok_or(CUT_OFF)?,
                WireType::Other(other) => return Err(format!("proto: illegal wireType {other}")),
            }
            if groups == 0 {
                return Ok(());
            }
            wire = WireType::of(self.varint()?);
        }
    }
}

/// Writes from the end to the beginning, so that lengths are known when they are due.
#[derive(Default)]
pub struct Backward {
    reversed: Vec<u8>,
}

impl Backward {
    /// How much is written.
    pub fn len(&self) -> usize {
        self.reversed.len()
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.reversed.extend(bytes.iter().rev());
    }

    /// An integer.
    pub fn varint(&mut self, value: u64) {
        let mut bytes = [0; 10];
        let mut length = 0;
        let mut rest = value;
        while rest >= 0x80 {
            bytes[length] = (rest & 0x7f) as u8 | 0x80;
            rest >>= 7;
            length += 1;
        }
        bytes[length] = rest as u8;
        self.raw(&bytes[..=length]);
    }

    /// The tag of a field whose value is written already.
    pub fn tag(&mut self, number: u8, wire: WireType) {
        self.varint(u64::from(number) << 3 | u64::from(wire.number()));
    }

    /// Length and tag of what was written since `start`.
    pub fn close(&mut self, number: u8, start: usize) {
        let length = self.len() - start;
        self.varint(length as u64);
        self.tag(number, WireType::Bytes);
    }

    /// A field of bytes.
    pub fn bytes(&mut self, number: u8, bytes: &[u8]) {
        let start = self.len();
        self.raw(bytes);
        self.close(number, start);
    }

    /// A field of an integer; negative ones take ten bytes, as Go's do.
    pub fn integer(&mut self, number: u8, value: i64) {
        self.varint(value.cast_unsigned());
        self.tag(number, WireType::Varint);
    }

    /// The bytes from the beginning.
    pub fn finish(mut self) -> Vec<u8> {
        self.reversed.reverse();
        self.reversed
    }
}
