"""Everything about Redis that is not the queue itself: how it is reached, what its errors mean, what it promises."""
