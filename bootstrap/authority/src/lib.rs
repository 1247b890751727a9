//! hive-authority
