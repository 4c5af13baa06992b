"""The relay: a process between the media gateway and the cameras. The only one that dials cameras.

The gateway receives relay URLs with the camera's URL sealed inside. It therefore holds no camera
address or password and cannot be redirected anywhere. The relay resolves the host name, checks the
address against the policy, connects to the checked address, authenticates, and forwards media only.
Redirects are checked like any other address. Every size that a camera announces is bounded.
"""
