//! Latencies, in constant space.

/// Bits of a value that are kept: within 0.8 % of what was measured.
const BITS: u32 = 7;
const STEPS: usize = 1 << BITS;

/// How many values fell into each bucket. Buckets are as wide as their values are large: a step of a power
/// of two, as HdrHistogram has them.
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    /// Nothing yet.
    pub fn new() -> Histogram {
        Histogram { buckets: vec![0; (64 - BITS as usize + 1) * STEPS], count: 0, max: 0 }
    }

    /// One value more, in microseconds.
    pub fn record(&mut self, micros: u64) {
        self.buckets[bucket(micros)] += 1;
        self.count += 1;
        self.max = self.max.max(micros);
    }

    /// All that another has counted.
    pub fn add(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest value, exactly, in milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.max as f64 / 1e3
    }

    /// The value, in milliseconds, that this share of all do not exceed; 0 when there are none.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return highest(at).min(self.max) as f64 / 1e3;
            }
        }
        0.0
    }
}

/// Small values have a bucket each; of larger ones the leading bits count.
fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(BITS + 1);
    ((shift as usize) << BITS) + (value >> shift) as usize
}

/// The largest value that falls into a bucket.
fn highest(bucket: usize) -> u64 {
    if bucket < 2 * STEPS {
        return bucket as u64;
    }
    let shift = (bucket >> BITS) as u32 - 1;
    let leading = (bucket - ((shift as usize) << BITS)) as u64;
    (leading << shift) + ((1 << shift) - 1)
}
