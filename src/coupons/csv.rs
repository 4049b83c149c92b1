//! Lists of coupon codes as they are uploaded: CSV, a row `code[,expiresAt]`, up to 1 GiB, in pieces of any
//! size. And a cell of the lists that go out.
//!
//! What must always hold: a reader has less than 8 KiB of memory, whatever comes, and how the bytes are cut
//! changes nothing. `csv_core` decides what is a field; here is only what a field may say.
//! No row makes the list unreadable. Nothing here knows which coupons exist: that is for who stores them.

use std::borrow::Cow;

use chrono::{DateTime, Datelike, Utc};
use csv_core::ReadRecordResult;

/// The longest record that is read, in bytes as they come, without what ends its line. One that is longer is
/// passed over and not kept.
const RECORD_BYTES_MAX: usize = 4096;
/// The code and when it expires.
const FIELDS_MAX: usize = 2;
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
/// UTF-16 in both orders and UTF-32; the mark of the other UTF-32 begins with the first of these.
const WIDE_MARKS: [&[u8]; 3] = [b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"];

/// A coupon to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The line on which it begins, from 1, as an editor counts them.
    pub line: u64,
    /// ASCII letters, digits and hyphens, in the case in which it was written.
    pub code: String,
    /// None where the list says nothing; milliseconds.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What a record came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// It can be imported.
    Row(Row),
    /// It cannot.
    Invalid {
        /// The line on which it begins, from 1.
        line: u64,
        /// A few words for who uploaded the list.
        reason: &'static str,
    },
}

/// Why nothing of it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It begins with the byte order mark of UTF-16 or UTF-32, as what some spreadsheets save does.
    #[error("the list is in UTF-16 or UTF-32; it must be saved as UTF-8")]
    Utf16,
}

/// Reads one list. Not `Clone`: a clone of `csv_core::Reader` 0.1.13 has lost its tables.
pub struct Reader {
    core: csv_core::Reader,
    /// The first bytes, at most four, until it is clear whether they are a byte order mark.
    opening: Vec<u8>,
    is_open: bool,
    /// The fields of the record that is being read, one after the other.
    record: Box<[u8]>,
    /// Where they end. The ends after the last field that is wanted are only counted.
    ends: [usize; 32],
    at: Place,
}

/// How far the reading is.
#[derive(Default)]
struct Place {
    lines: u64,
    is_after_cr: bool,
    records: u64,
    /// The line on which the record begins that is being read.
    line: u64,
    /// What came of it, as it was written; none between two records.
    bytes: usize,
    kept_bytes: usize,
    fields: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// For a list of which nothing came yet.
    pub fn new() -> Self {
        let mut core = csv_core::Reader::new();
        // It drops a byte order mark too, but only where its first piece holds all of it. Here one is dropped
        // however it is cut, and none after it: once the core has read the end of nothing, it looks for none.
        core.read_record(&[], &mut [], &mut []);
        // One byte more than is kept: where there is no room, `csv_core` takes nothing.
        let record = vec![0; RECORD_BYTES_MAX + 1].into_boxed_slice();
        Self { core, opening: Vec::new(), is_open: false, record, ends: [0; 32], at: Place::default() }
    }

    /// Takes the next piece; records that it ends are given to `each`, in their order.
    pub fn feed(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Record)) -> Result<(), Unreadable> {
        while !self.opens(false, each)? {
            let Some((byte, rest)) = bytes.split_first() else { return Ok(()) };
            self.opening.push(*byte);
            bytes = rest;
        }
        self.read(bytes, each);
        Ok(())
    }

    /// No more comes: the last record, where no line feed ended it.
    pub fn finish(&mut self, each: &mut impl FnMut(Record)) -> Result<(), Unreadable> {
        self.opens(true, each)?;
        // To `csv_core` an empty piece is the end.
        self.step(&[], each);
        Ok(())
    }

    /// Whether it is clear how the list begins. What was held back is read when it becomes so.
    fn opens(&mut self, is_all: bool, each: &mut impl FnMut(Record)) -> Result<bool, Unreadable> {
        if self.is_open {
            return Ok(true);
        }
        let opening = self.opening.as_slice();
        if WIDE_MARKS.contains(&opening) {
            return Err(Unreadable::Utf16);
        }
        let may_become = |mark: &[u8]| mark.starts_with(opening);
        self.is_open = is_all || !(may_become(UTF8_MARK) || WIDE_MARKS.into_iter().any(may_become));
        if self.is_open {
            let opening = std::mem::take(&mut self.opening);
            self.read(opening.strip_prefix(UTF8_MARK).unwrap_or(&opening), each);
        }
        Ok(self.is_open)
    }

    fn read(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Record)) {
        loop {
            if self.at.bytes == 0 {
                // `csv_core` passes over empty lines too, but does not say how many came before a record.
                let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                self.count_lines(&bytes[..empty]);
                self.at.line = self.at.lines + 1;
                bytes = &bytes[empty..];
            }
            if bytes.is_empty() {
                return;
            }
            bytes = &bytes[self.step(bytes, each)..];
        }
    }

    /// Reads to the end of the record, of a buffer or of the bytes, and tells how many it took: always some,
    /// and never so many of a record that what is kept would not fit. No bytes are the end of the list.
    fn step(&mut self, bytes: &[u8], each: &mut impl FnMut(Record)) -> usize {
        let is_long = self.at.bytes > RECORD_BYTES_MAX;
        // The one byte more than the longest is what ends it, or else it is too long: nothing of it is kept.
        let most = if is_long { bytes.len() } else { RECORD_BYTES_MAX + 1 - self.at.bytes };
        let from = if is_long { 0 } else { self.at.kept_bytes };
        let (bytes, room) = (&bytes[..bytes.len().min(most)], &mut self.record[from..]);
        let ends = &mut self.ends[self.at.fields.min(FIELDS_MAX)..];
        let (result, read, written, ended) = self.core.read_record(bytes, room, ends);
        self.count_lines(&bytes[..read]);
        self.at.bytes += read;
        self.at.kept_bytes = from + written;
        self.at.fields += ended;
        if result == ReadRecordResult::Record {
            self.judge(is_long).into_iter().for_each(each);
            self.at.records += 1;
            (self.at.bytes, self.at.kept_bytes, self.at.fields) = (0, 0, 0);
        }
        read
    }

    /// As an editor does: LF, CR or both end a line. `csv_core::Reader::line` knows LF alone.
    fn count_lines(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.at.lines += u64::from(byte == b'\r' || byte == b'\n' && !self.at.is_after_cr);
            self.at.is_after_cr = byte == b'\r';
        }
    }

    /// None for a header.
    fn judge(&self, is_long: bool) -> Option<Record> {
        let Place { line, fields, records, .. } = self.at;
        if is_long {
            return Some(Record::Invalid { line, reason: "the record is too long" });
        }
        let code = self.record[..self.ends[0]].trim_ascii();
        let expires_at = if fields > 1 { &self.record[self.ends[0]..self.ends[1]] } else { &[] };
        if records == 0 && code.eq_ignore_ascii_case(b"code") {
            return None;
        }
        let row = if fields > FIELDS_MAX { Err("more than two fields") } else { row(line, code, expires_at) };
        Some(row.map_or_else(|reason| Record::Invalid { line, reason }, Record::Row))
    }
}

fn row(line: u64, code: &[u8], expires_at: &[u8]) -> Result<Row, &'static str> {
    let text = |bytes| str::from_utf8(bytes).map_err(|_| "not UTF-8");
    let (code, expires_at) = (text(code)?, text(expires_at)?);
    if code.is_empty() {
        return Err("no code");
    }
    if !code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err("a code has letters, digits and hyphens");
    }
    if !(4..=64).contains(&code.bytes().filter(|&byte| byte != b'-').count()) {
        return Err("a code has 4 to 64 letters and digits");
    }
    let expires_at = match expires_at {
        "" => None,
        some => Some(parse_time(some).ok_or("expiresAt is not an RFC 3339 time")?),
    };
    Ok(Row { line, code: code.to_owned(), expires_at })
}

/// The year counts in UTC, in which the time is kept: with an offset, 9999 can be 10000. By way of
/// milliseconds a leap second becomes the second after it, which is what Postgres does.
fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    // `chrono` takes the typographic minus for an offset; RFC 3339 is ASCII.
    let time = if text.is_ascii() { DateTime::parse_from_rfc3339(text).ok()? } else { return None };
    let time = DateTime::from_timestamp_millis(time.timestamp_millis())?;
    (2000..=9999).contains(&time.year()).then_some(time)
}

/// A cell of a list that goes out. One that a spreadsheet would take for a formula begins with an apostrophe
/// (OWASP, CSV injection); it is in quotes where CSV needs them.
pub fn cell(text: &str) -> Cow<'_, str> {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) };
    let is_quoted = text.contains([',', '"', '\r', '\n']);
    if is_quoted { format!("\"{}\"", text.replace('"', "\"\"")).into() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const LONG: &str = "1: the record is too long";
    const LETTERS: &str = "1: a code has letters, digits and hyphens";

    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Record>, Unreadable> {
        let (mut reader, mut records) = (Reader::new(), Vec::new());
        for piece in pieces {
            reader.feed(piece, &mut |record| records.push(record))?;
            assert!(size_of_val(&reader) + reader.record.len() + reader.opening.capacity() < 8192);
        }
        reader.finish(&mut |record| records.push(record))?;
        Ok(records)
    }

    /// A record as `1 CODE time` or `1: reason`.
    fn told(list: impl AsRef<[u8]>) -> Vec<String> {
        let tell = |record| match record {
            Record::Row(Row { line, code, expires_at: None }) => format!("{line} {code}"),
            Record::Row(Row { line, code, expires_at: Some(time) }) => format!("{line} {code} {time:?}"),
            Record::Invalid { line, reason } => format!("{line}: {reason}"),
        };
        read([list.as_ref()]).unwrap().into_iter().map(tell).collect()
    }

    fn all_are<List: AsRef<[u8]>>(one: &str, lists: impl IntoIterator<Item = List>) {
        for list in lists {
            assert_eq!(told(&list), [one], "{}", list.as_ref().escape_ascii());
        }
    }

    #[test]
    fn line_ends_and_quotes_are_those_of_csv_and_lines_those_of_an_editor() {
        assert_eq!(told("AAAA\nBBBB\r\nCCCC\rDDDD"), ["1 AAAA", "2 BBBB", "3 CCCC", "4 DDDD"]);
        assert_eq!(told("\n\r\n\r\rAAAA\r\n\r\n\nBBBB\n\n"), ["5 AAAA", "8 BBBB"]);
        assert_eq!(told("\"A\nA\r\nA\rA\"\n\n\"\r\nAAAA\r\"\nBBBB"), [LETTERS, "6 AAAA", "9 BBBB"]);
        assert!(["", "\n", "\r\n\r", "\u{feff}"].iter().all(|empty| told(empty).is_empty()));
        all_are("1 AAAA 2030-01-01T00:00:00Z", ["\"AAAA\",\"2030-01-01T00:00:00Z\"\n"]);
        all_are(LETTERS, ["\"AA,AA\"", "\"AA\"\"AA\"\n", "\"AAAA\n\nBBBB,"]);
        all_are("1 AAAA", ["\"AAAA", "\"AAAA\n", "AAAA,\"", "\"AA\"AA"]);
    }

    #[test]
    fn a_header_is_dropped_where_it_is_the_first_record() {
        all_are("3 AAAA", ["\n Code ,expiresAt\nAAAA", "\"CODE\",\"a\n\",b\nAAAA,\n"]);
        assert_eq!(told("AAAA\ncode"), ["1 AAAA", "2 code"]);
        assert_eq!(told("code\ncode\ncodes"), ["2 code", "3 codes"]);
    }

    #[test]
    fn a_byte_order_mark_is_dropped_once_or_says_what_cannot_be_read() {
        let marked = ["\u{feff}code\nAAAA", "\u{feff}\nAAAA", "\u{feff}\"code\"\r\nAAAA"];
        all_are("2 AAAA", marked);
        assert!(marked.iter().all(|list| read(list.as_bytes().chunks(1)) == read([list.as_bytes()])));
        all_are(LETTERS, ["\u{feff}\u{feff}AAAA", "\0", "\0\0\u{1}AAAA"]);
        all_are("1: not UTF-8", [b"\xef".as_slice(), b"\xef\xbb", b"\xff", b"\0\0\xfe", b"\xef\xbbAAAA"]);
        for wide in [b"\xff\xfeA\0".as_slice(), b"\xfe\xff\0A", b"\xff\xfe\0\0A\0", b"\0\0\xfe\xff\0A"] {
            assert_eq!(read(wide.chunks(1)), Err(Unreadable::Utf16));
            let mut reader = Reader::new();
            assert!((0..3).all(|_| reader.feed(wide, &mut |_| {}).is_err()));
            assert!(reader.finish(&mut |_| {}).unwrap_err().to_string().contains("UTF-8"));
        }
    }

    #[test]
    fn a_code_has_4_to_64_letters_and_digits() {
        let longest = "A".repeat(64);
        all_are("1 Ab-1-2--", [" \tAb-1-2--\x0c,"]);
        all_are(&format!("1 -{longest}"), [format!("-{longest}")]);
        all_are("1: a code has 4 to 64 letters and digits", ["A-B-C-", "----", &format!("{longest}A")]);
        all_are("1: no code", ["\"\"", " ", ",", ",2030-01-01T00:00:00Z"]);
        all_are(LETTERS, ["AA AA", "AAAA_", "쿠폰쿠폰", "AAAA\0", "=AAAA", "AAAA\u{a0}"]);
        all_are("1: not UTF-8", [b"AAAA\xff".as_slice(), b"AAAA,\xc3", b"\xc3,\xa9"]);
        all_are("1: more than two fields", ["AAAA,,", ",,", "AAAA,,x", &",".repeat(4096)]);
    }

    #[test]
    fn a_time_is_rfc_3339_from_2000_to_9999_in_milliseconds() {
        all_are("1 AAAA 2029-12-31T15:00:00.123Z", ["AAAA,2030-01-01T00:00:00.123999+09:00"]);
        all_are("1 AAAA 2000-01-01T00:00:00Z", ["AAAA,2000-01-01t00:00:00z", "AAAA,2000-01-01 00:00:00Z"]);
        all_are("1 AAAA 9999-12-31T23:59:59.999Z", ["AAAA,9999-12-31T23:59:59.9999999999Z"]);
        all_are("1 AAAA 2017-01-01T00:00:00.500Z", ["AAAA,2016-12-31T23:59:60.5Z"]);
        let refused = "2030-01-01|2030-01-01T00:00:00|1999-12-31T23:59:59Z|2000-01-01T00:00:00+09:00|0| |\0|\
                       9999-12-31T23:59:59-01:00|9999-12-31T23:59:60Z|2030-02-30T00:00:00Z|never|\"\n\"|\
                       2030-01-01T00:00:00\u{2212}09:00| 2030-01-01T00:00:00Z|2030-01-01T00:00:00.Z";
        let lists = refused.split('|').map(|time| format!("AAAA,{time}"));
        all_are("1: expiresAt is not an RFC 3339 time", lists);
    }

    #[test]
    fn a_long_record_is_one_record_and_memory_stays_what_it_was() {
        let quoted = format!("\"{}\"", "\n".repeat(9000));
        for long in [&"x".repeat(4092), &"x".repeat(9000), &",".repeat(9000), &quoted] {
            let next = format!("{} BBBB", 2 + long.matches('\n').count());
            assert_eq!(told(format!("AAAA,{long}\r\nBBBB")), [LONG, &next]);
            all_are(LONG, [format!("AAAA,{long}")]);
        }
        assert_eq!(told(format!("AAAA{}\nBBBB", " ".repeat(4092))), ["1 AAAA", "2 BBBB"]);
        for (open, filling) in [("", "a"), ("\"", "a"), ("\"", "\n"), ("", ","), ("A,\"", "\"\"")] {
            let piece = filling.repeat((1 << 20) / filling.len());
            let pieces = std::iter::once(open.as_bytes()).chain([piece.as_bytes(); 64]);
            assert_eq!(read(pieces), Ok(vec![Record::Invalid { line: 1, reason: "the record is too long" }]));
        }
    }

    #[test]
    fn a_cell_is_no_formula_and_is_in_quotes_where_it_must() {
        for text in ["", "A-1", " 쿠폰"] {
            assert!(matches!(cell(text), Cow::Borrowed(same) if same == text));
        }
        let cells = ["=1", "+1", "-1", "@A", "\tA", "\rA", "=\"A\"", "a,b", "a\nb", "a\"b"].map(cell);
        assert_eq!(cells[..5], ["'=1", "'+1", "'-1", "'@A", "'\tA"]);
        assert_eq!(cells[5..], ["\"'\rA\"", "\"'=\"\"A\"\"\"", "\"a,b\"", "\"a\nb\"", "\"a\"\"b\""]);
    }

    const PARTS: &str = "[\r\n,\"]|[\r\n,\"]|\"\"|\r\n|AAAA|code|[ -~]{1,6}|2030-01-01T00:00:00Z|[é\0=]";

    proptest! {
        #[test]
        fn how_it_is_cut_changes_nothing(
            mark in prop::sample::select(vec!["".as_bytes(), UTF8_MARK, b"\xef\xbb", b"\xff\xfe", b"\0\0"]),
            parts in vec(prop_oneof![9 => PARTS.prop_map(String::into), 1 => vec(any::<u8>(), 1..3)], 0..90),
            (at, long) in (any::<prop::sample::Index>(), prop_oneof![Just(0), 4080_usize..4110]),
            joined in vec(prop::bool::weighted(0.9), 1..99),
        ) {
            let mut bytes = [mark.to_vec(), parts.concat()].concat();
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, std::iter::repeat_n(b'x', long));
            let (whole, mut joined) = (read([bytes.as_slice()]), joined.iter().cycle());
            prop_assert_eq!(read(bytes.chunks(1)), whole.clone());
            prop_assert_eq!(read(bytes.chunk_by(|_, _| joined.next() == Some(&true))), whole);
        }

        #[test]
        fn records_are_those_of_the_csv_crate(parts in vec(PARTS, 0..90)) {
            let text = format!("code\n{}", parts.concat());
            let seen = read([text.as_bytes()]).unwrap().into_iter().map(|record| match record {
                Record::Row(row) => (row.line, false),
                Record::Invalid { line, reason } => (line, reason == "more than two fields"),
            });
            let mut theirs = ::csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
            let expected = theirs.byte_records().map(Result::unwrap).map(|record| {
                let from = record.position().unwrap().byte() as usize;
                let begins = text.len() - text[from..].trim_start_matches(['\r', '\n']).len();
                let line = 1 + text[..begins].replace("\r\n", "\n").matches(['\r', '\n']).count() as u64;
                (line, record.len() > 2)
            });
            prop_assert_eq!(seen.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
    }
}
