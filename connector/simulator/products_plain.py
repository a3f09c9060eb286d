r"""Software without a product code (non-CPE): in-house tools, utilities, plug-ins. A table in `catalogue`'s form."""

from __future__ import annotations

from typing import Final

NON_CPE: Final = r"""
contoso_ltd. contoso_vpn_profile | w70 m40 | c120 | 2.4.0 2.4.1 2.5.0 | PF\Contoso\VpnProfile\profile.exe; HKUN\{0A7E4C50-1B8D-4E0B-9D1B-8D0C1B7E5A11}
contoso_ltd. expense_reports® | w35 | c60 | 7.11.2 7.12.0 7.12.3 | PF86\Contoso\Expense Reports\expenses.exe; HKUN32\{4D8A2F1C-7B3E-49B0-8E67-2C5F0A9D6B12}
contoso_ltd. time_clock | w42 | c60 | 3.0.9 3.1.0 3.1.4 | PF86\Contoso\Time Clock\clock.exe; HKUN32\{6C1B3E77-5D0A-4A5F-A7E1-9F4B2D8C0E13}
contoso_ltd. asset_tag_agent | w88 s90 | c90 | 1.8.3 1.8.4 1.9.0 | PF\Contoso\AssetTag\agent.exe; HKUN\{9E5D7A20-3C4B-4F7A-B1D8-6A0E2C9F4B14}
fabrikam label_printer_suite | w18 | c200 | 5.20 5.21 5.30 | PF86\Fabrikam\Labels\labels.exe; HKUN32\Fabrikam Labels
fabrikam barcode_fonts | w12 | c900 | 2.0 2.1 | HKUN32\Fabrikam Barcode Fonts
- gruppenrichtlinien-übersicht | w9 | c200 | 1.0.3 1.0.4 | PD\Tools\gpo-übersicht.exe
- 打印助手 | w4 | c200 | 3.2.1 3.2.2 | PF86\打印助手\print.exe; HKUN32\打印助手
northwind_traders order_entry_client | w30 s4 | c45 | 11.4.0.118 11.4.1.120 11.5.0.131 | PF86\Northwind\OrderEntry\client.exe; HKUN32\{2B7C9D14-8A6F-4E3B-9C20-5D1E7F0A3B15}
northwind_traders odbc_bridge | w22 s18 | c200 | 2.1.7 2.1.8 | PF\Northwind\Odbc\bridge.dll; HKUN\{5F0B1C28-4D7E-4B6A-8E93-1A2C3D4E5F16}
brother printer_driver_deployment_wizard | w14 | c300 | 1.9.3 1.9.5 | PF86\Brother\PDDW\wizard.exe; HKUN32\{B7C21E09-55E1-4D0C-9F5B-3F0D1A2B4C17}
epson event_manager | w10 | c300 | 3.11.76 3.11.79 | PF86\Epson Software\Event Manager\EEventManager.exe; HKUN32\{8ED43F7E-A8F6-4898-AF11-B6158F2EDF94}
canon_inc. ij_scan_utility | w8 | c300 | 2.3.8 2.3.9 | PF86\Canon\IJ Scan Utility\SCANUTILITY.exe; HKUN32\Canon_IJ_Scan_Utility
jabra direct | w24 | c60 | 6.21.31701 6.24.07901 6.25.29101 | PF86\Jabra\Direct6\jabra-direct.exe; HKUN32\{19a6a2d4-2c3f-4a6c-8d5a-7f2b6c1e9d18}
poly lens_desktop | w16 m10 | c60 | 1.5.0 1.6.1 2.0.1 | PF\Poly\Lens\PolyLens.exe; HKUN\{3E4F5A6B-7C8D-4E9F-A0B1-C2D3E4F5A619}
plantronics hub_software | w8 | c300 | 3.25.54307 3.26.53040 | PF86\Plantronics\Spokes3G\PLTHub.exe; HKUN32\{1D2E3F4A-5B6C-4D7E-8F90-A1B2C3D4E51A}
jam_software treesize_free | w12 s10 | c60 | 4.7.2 4.7.3 4.8.0 | PF86\JAM Software\TreeSize Free\TreeSizeFree.exe; HKUN32\TreeSize Free_is1
voidtools everything | w16 s8 | c200 | 1.4.1.1024 1.4.1.1026 1.4.1.1029 | PF\Everything\Everything.exe; HKUN\Everything
sysinternals bginfo | w4 s52 | c300 | 4.32 4.33 | C:\Tools\BGInfo\Bginfo64.exe
sysinternals process_explorer | w14 s16 | c150 | 17.05 17.06 17.07 | C:\Tools\procexp64.exe
don_ho notepad++_plugin_compare | w10 | c300 | 2.0.2 2.0.4 | PF\Notepad++\plugins\ComparePlugin\ComparePlugin.dll
gitextensions git_extensions | w8 | c90 | 4.2.1.17611 5.2.1.18061 | PF\GitExtensions\GitExtensions.exe; HKUN\{7E1F2A3B-4C5D-4E6F-8A9B-0C1D2E3F4A1B}
mremoteng mremoteng | w8 s10 | c300 | 1.76.20.24669 1.77.2.12345 | PF86\mRemoteNG\mRemoteNG.exe; HKUN32\{5A6B7C8D-9E0F-4A1B-8C2D-3E4F5A6B7C1C}
royal_apps royal_ts | w9 s3 | c45 | 7.2.50916 7.3.51103 7.3.51205 | PF\Royal TS V7\RoyalTS.exe; HKUN\{8C9D0E1F-2A3B-4C5D-9E6F-7A8B9C0D1E1D}
datev_eg datev_arbeitsplatz | w12 | c30 | 18.2 19.0 19.1 | PF86\DATEV\PROGRAMM\Arbeitsplatz\Arbeitsplatz.exe; HKUN32\DATEV Arbeitsplatz
sap_se sap_gui_for_windows | w34 | c120 | *1 7.70 @2024-04-09; *4 8.00 8.10 | PF86\SAP\FrontEnd\SAPGUI\saplogon.exe; HKUN32\SAPGUI
autodesk autocad_language_pack_-_english | w8 | c300 | 25.0.58.0 25.1.51.0 | HKUN\{28B89EEF-8101-0409-1102-CF3F3A09B77D}
ptc creo_view | w5 | c150 | 9.1.0.0 10.0.1.0 | PF\PTC\Creo 10\View\bin\pvx64vmt.exe; HKUN\{6D7E8F90-A1B2-4C3D-8E4F-5A6B7C8D9E1E}
siemens tia_portal_openness | w3 | c300 | 18.0.1 19.0.0 20.0.0 | PF\Siemens\Automation\Portal V19\Bin\Siemens.Automation.Portal.exe; HKUN\{4F5A6B7C-8D9E-4F0A-9B1C-2D3E4F5A6B1F}
rapid7 insight_agent_bootstrap | w16 s30 | c60 | 4.0.17.24 4.0.18.46 4.0.19.2 | PF\Rapid7\Insight Agent\bootstrap.exe; HKUN\{7C8D9E0F-1A2B-4C3D-9E4F-5A6B7C8D9E20}
rectangle rectangle | m34 | c60 | 0.85 0.87 0.90 | APP/Rectangle.app
bjango istat_menus | m12 | c60 | 7.10.3 7.11 7.20 | APP/iStat Menus.app
homebrew homebrew | m44 | c20 | 4.6.20 5.0.3 5.0.6 5.0.7 | /opt/homebrew/bin/brew
alfred_app alfred_5 | m14 | c60 | 5.6.1 5.6.2 5.7 | APP/Alfred 5.app
contoso_ltd. device_enrolment | m80 | c120 | 1.2.0 1.2.1 1.3.0 | APP/Contoso Enrolment.app
contoso_ltd. backup-hook | l70 | c120 | 0:1.4.2-[1].el9 0:1.4.2-[2].el9; 1.4.2-[1] | /opt/contoso/backup-hook
contoso_ltd. metrics-shipper | l80 | c60 | 0:0.9.14-[1].el9; 0.9.14-[1] | /opt/contoso/metrics-shipper
- configure-and-make-tool | l25 | c300 | 2023.1 2024.2 | /usr/local/bin/cmt
kitware cmake-data | l30 | c200 | 0:3.26.5-[2].el9; 3.22.1-1ubuntu1.22.04.[2] | /usr/share/cmake
tmux tmux | l52 | c300 | 0:3.2a-[5].el9; 3.2a-4ubuntu0.[2] | /usr/bin/tmux
htop htop | l44 | c300 | 0:3.3.0-[1].el9; 3.0.5-7build[2] | /usr/bin/htop
jq jq | l58 | c300 | 0:1.6-[19].el9; 1.6-2.1ubuntu3.[1] | /usr/bin/jq
strace strace | l36 | c300 | 0:5.18-[4].el9; 5.16-0ubuntu[3] | /usr/bin/strace
"""
"""What the API lists without a product code; no weaknesses and no end of support are known for it."""
