//! What a script is sent.

use std::fmt;
use std::io::Write;

use bytes::Bytes;

/// What a script can be sent: all that is displayed, as text, and [`Bits`] as they are.
pub trait Argument {
    /// Writes it as it is sent.
    fn write(self, to: &mut Vec<u8>);
}

impl<T: fmt::Display> Argument for T {
    fn write(self, to: &mut Vec<u8>) {
        // Memory takes whatever is written.
        let _ = write!(to, "{self}");
    }
}

/// Bits, eight a byte, the first the highest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits(pub Vec<u8>);

impl Argument for Bits {
    fn write(self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.0);
    }
}

/// Many as one argument, by commas, which scripts take apart.
pub fn by_commas<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

/// Arguments in their order, in one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Args {
    /// One more.
    pub fn push(&mut self, argument: impl Argument) {
        argument.write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Each.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| &self.bytes[begin..*end])
    }

    /// All as one argument, an array of strings, that scripts read with `cmsgpack.unpack`. For Redis that is
    /// as much work as if each came for itself; for the client it is an eighth of it.
    pub fn packed(&self) -> Bytes {
        let mut packed = Vec::with_capacity(self.bytes.len() + 5 * self.count() + 5);
        // Memory takes whatever is written.
        let _ = rmp::encode::write_array_len(&mut packed, self.count() as u32);
        for argument in self.iter() {
            let _ = rmp::encode::write_str_len(&mut packed, argument.len() as u32);
            packed.extend_from_slice(argument);
        }
        packed.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_keep_their_order_and_their_bytes() {
        let mut args = Args::default();
        args.push("one");
        args.push("");
        args.push(Bits(vec![0xff, 0]));
        args.push(7);
        assert_eq!(args.iter().collect::<Vec<_>>(), [&b"one"[..], b"", &[0xff, 0], b"7"]);
        let packed = [&[0x94, 0xa3][..], b"one", &[0xa0, 0xa2, 0xff, 0, 0xa1], b"7"].concat();
        assert_eq!(args.packed(), packed);
    }
}
