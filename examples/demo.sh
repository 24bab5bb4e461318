# What `make demo` types into a traced shell, with a breath at each empty line:
# a cart, a test that fails, the fix, a note.
cat > cart.py <<'PYTHON'
def total(prices, discount=0):
    return sum(prices) - discount / 100
PYTHON

cat > test_cart.py <<'PYTHON'
import unittest
from cart import total


class CartTest(unittest.TestCase):
    def test_a_discount_is_a_percentage(self):
        self.assertEqual(total([40, 60], discount=10), 90)
PYTHON

git add . && git commit -q -m "Add up the cart"

python3 -m unittest -q

grep -n discount cart.py

devtrace note "The discount is taken off as money; it is a percentage."

sed 's/ - discount / * (100 - discount) /' cart.py > new && mv new cart.py

git diff --stat

python3 -m unittest -q && git commit -q -am "Take off a percentage"
