//! hive-ledger
