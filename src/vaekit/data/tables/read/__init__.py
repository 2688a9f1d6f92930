"""From CSV, Parquet and data frames to cells."""
