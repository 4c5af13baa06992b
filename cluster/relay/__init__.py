"""The relay: a process between the media gateway and the cameras. The only one that dials cameras.

The gateway is given URLs of the relay in which the camera's URL is sealed. So the gateway holds no
address and no password of a camera, and cannot be led anywhere: the relay looks the name up, asks
the policy, connects to what was checked, signs in, and hands on media only. Redirects are checked
like any other address; sizes that a camera announces are bounded.
"""
