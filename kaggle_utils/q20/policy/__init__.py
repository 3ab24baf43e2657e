"""Learned questioners: the linear policy of Hu et al. 2018, and a residual on expected information gain. Needs torch.

Every module imports without torch; calling what needs it says how to install it.
"""
