; Rayonix MX340-HS, 4 x 4 binned: 1920 x 1920 pixels of 177.08 um.
; Source: Rayonix MX-HS series data sheet (340 mm square, 7680 x 7680 unbinned).
; Nominal positions, for simulation and as a start: refine with your own data before indexing.
; clen, photon_energy and the gain are examples of how it is used.
photon_energy = 9500.0 eV
clen = 0.125 m
adu_per_photon = 1.0
data = /entry_1/data_1/data
dim0 = %
dim1 = ss
dim2 = fs


p0/min_fs = 0
p0/max_fs = 1919
p0/min_ss = 0
p0/max_ss = 1919
p0/res = 5647.17
p0/corner_x = -960.000829
p0/corner_y = -960.000829
p0/fs = +1.000000864x
p0/ss = +1.000000864y
