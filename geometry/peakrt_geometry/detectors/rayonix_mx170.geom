; Rayonix MX170-HS, 2 x 2 binned: 1920 x 1920 pixels of 88.54 um.
; Source: Rayonix MX-HS series data sheet (170 mm square, 3840 x 3840 unbinned).
; Nominal positions, for simulation and as a start: refine with your own data before indexing.
; clen, photon_energy and the gain are examples of how it is used.
photon_energy = 9500.0 eV
clen = 0.1 m
adu_per_photon = 1.0
data = /entry_1/data_1/data
dim0 = %
dim1 = ss
dim2 = fs


p0/min_fs = 0
p0/max_fs = 1919
p0/min_ss = 0
p0/max_ss = 1919
p0/res = 11294.3
p0/corner_x = -959.997429
p0/corner_y = -959.997429
p0/fs = +0.999997322x
p0/ss = +0.999997322y
