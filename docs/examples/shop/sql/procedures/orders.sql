CREATE OR REPLACE FUNCTION public.products()
RETURNS TABLE (id bigint, name text, cents bigint, stock bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = app, pg_temp
AS $$
    SELECT p.id, p.name, p.cents, p.stock FROM app.products AS p ORDER BY p.id
$$;

-- Places an order, and takes it from the stock. PT404 and PT409 become statuses; nothing is recorded then.
CREATE OR REPLACE FUNCTION public.place_order(
    product bigint, quantity bigint, key text, OUT id bigint, OUT cents bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = app, pg_temp
AS $$
DECLARE
    available app.products;
BEGIN
    -- Orders of one product come one after the other, so the key and the stock cannot change below.
    SELECT * INTO available FROM app.products AS p WHERE p.id = place_order.product FOR UPDATE;
    IF NOT FOUND THEN
        RAISE SQLSTATE 'PT404' USING MESSAGE = 'no such product';
    END IF;
    SELECT o.id, o.cents INTO place_order.id, place_order.cents
    FROM app.orders AS o
    WHERE o.key = place_order.key AND (o.product, o.quantity) = (place_order.product, place_order.quantity);
    IF FOUND THEN
        RETURN;
    END IF;
    IF available.stock < place_order.quantity THEN
        RAISE SQLSTATE 'PT409' USING MESSAGE = 'not enough in stock';
    END IF;
    UPDATE app.products AS p SET stock = p.stock - place_order.quantity WHERE p.id = place_order.product;
    -- The key of another order is a 409 by its constraint.
    INSERT INTO app.orders AS o (product, quantity, cents, key)
    VALUES (place_order.product, place_order.quantity, place_order.quantity * available.cents, place_order.key)
    RETURNING o.id, o.cents INTO place_order.id, place_order.cents;
END
$$;

CREATE OR REPLACE FUNCTION public.order_by_id(id bigint)
RETURNS TABLE (id bigint, product text, quantity bigint, cents bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = app, pg_temp
AS $$
    SELECT o.id, p.name, o.quantity, o.cents
    FROM app.orders AS o JOIN app.products AS p ON p.id = o.product
    WHERE o.id = order_by_id.id
$$;

-- The service may execute them, and nobody else.
REVOKE ALL ON FUNCTION public.products(), public.place_order(bigint, bigint, text), public.order_by_id(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.products(), public.place_order(bigint, bigint, text), public.order_by_id(bigint) TO shop;
