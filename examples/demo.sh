# What `make demo` types into a traced shell: a shop's cart, a test that fails, the fix, a note.
cat > cart.py <<'PYTHON'
def total(prices, discount=0):
    return sum(prices) - discount / 100


if __name__ == "__main__":
    print(total([40, 60], discount=10))
PYTHON
cat > test_cart.py <<'PYTHON'
import unittest
from cart import total


class CartTest(unittest.TestCase):
    def test_a_discount_is_a_percentage(self):
        self.assertEqual(total([40, 60], discount=10), 90)
PYTHON
git add cart.py test_cart.py && git commit -q -m "Add up the cart"
python3 cart.py
python3 -m unittest -q
devtrace note "The discount is taken off as money; the test wants a percentage."
sed 's|sum(prices) - discount / 100|sum(prices) * (100 - discount) / 100|' cart.py > fixed && mv fixed cart.py
git diff --stat
python3 -m unittest -q && git commit -q -am "Take the discount as a percentage"
