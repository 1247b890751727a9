//! The memory limit of one guest: linear memory and tables together.

use super::control::Stop;
use wasmtime::ResourceLimiter;

/// Bytes of one table element in wasmtime.
const TABLE_ELEMENT: usize = size_of::<usize>();
/// Tables of one guest. C and Rust programs have one.
const TABLES: usize = 16;

pub(super) struct Limiter {
    limit: u64,
    memory: u64,
    tables: u64,
    peak: u64,
}

impl Limiter {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            memory: 0,
            tables: 0,
            peak: 0,
        }
    }

    /// Largest sum of memory and tables, in bytes.
    pub(super) fn peak(&self) -> u64 {
        self.peak
    }

    fn check(&mut self, memory: u64, tables: u64) -> wasmtime::Result<bool> {
        let total = memory.saturating_add(tables);
        if total > self.limit {
            // A trap instead of a failed grow: the guest would end in a misleading way or crawl on.
            return Err(Stop::Memory { wanted: total }.into());
        }
        (self.memory, self.tables) = (memory, tables);
        self.peak = self.peak.max(total);
        Ok(true)
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|m| desired > m) {
            // The module's own maximum: an ordinary failed grow.
            return Ok(false);
        }
        let grown = desired.saturating_sub(current) as u64;
        self.check(self.memory.saturating_add(grown), self.tables)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|m| desired > m) {
            return Ok(false);
        }
        let grown = desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT) as u64;
        self.check(self.memory, self.tables.saturating_add(grown))
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        1
    }
}
