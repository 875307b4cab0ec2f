-- The orders that were placed before this migration get the default.
ALTER TABLE app.orders ADD COLUMN status text NOT NULL DEFAULT 'placed' CHECK (status IN ('placed', 'cancelled'));
