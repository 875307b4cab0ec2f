-- Postgres replaces a function only by one with the same columns.
DROP FUNCTION IF EXISTS public.order_by_id(bigint);

CREATE FUNCTION public.order_by_id(id bigint)
RETURNS TABLE (id bigint, product text, quantity bigint, cents bigint, status text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = app, pg_temp
AS $$
    SELECT o.id, p.name, o.quantity, o.cents, o.status
    FROM app.orders AS o JOIN app.products AS p ON p.id = o.product
    WHERE o.id = order_by_id.id
$$;

-- Orders, the newest first: `size` of them, from the one below `after`; without it from the newest. Compared with one
-- value, the index finds the first of them, where `after IS NULL OR` would read all that come before.
CREATE OR REPLACE FUNCTION public.orders_page(after bigint, size bigint)
RETURNS TABLE (id bigint, product text, quantity bigint, cents bigint, status text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = app, pg_temp
AS $$
    SELECT o.id, p.name, o.quantity, o.cents, o.status
    FROM app.orders AS o JOIN app.products AS p ON p.id = o.product
    WHERE o.id < coalesce(after, 9223372036854775807)
    ORDER BY o.id DESC LIMIT size
$$;

REVOKE ALL ON FUNCTION public.order_by_id(bigint), public.orders_page(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.order_by_id(bigint), public.orders_page(bigint, bigint) TO shop;
